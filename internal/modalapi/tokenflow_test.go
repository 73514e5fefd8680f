// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestTokenFlow_ErrorsDoNotShowItsID(t *testing.T) {
	t.Parallel()
	server := modaltest.Start(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})
	flow, err := client.BeginTokenFlow(t.Context(), 0)
	require.NoError(t, err)
	server.Inject("TokenFlowWait", modaltest.Fault{Code: codes.NotFound, Message: "Token flow '" + flow.ID + "' (code " + flow.Code + ") not found"})

	_, err = client.AwaitTokenFlow(t.Context(), flow, time.Second)

	require.ErrorContains(t, err, "Token flow '[redacted]' ")
	require.NotContains(t, err.Error(), flow.ID)
}
