// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func TestAuditLog_ListsEntriesBetweenTwoTimes(t *testing.T) {
	t.Parallel()
	_, admin, client, minted := withServiceUser(t)
	who, err := client.WhoAmI(t.Context(), admin)
	require.NoError(t, err)
	now := time.Now()

	entries, err := client.AuditLog(t.Context(), admin, now.Add(-time.Hour), now.Add(time.Hour))

	require.NoError(t, err)
	require.Equal(t, []modalapi.AuditEntry{{ActorType: "user", ActorID: who.ID, Action: "service_user.create"}}, entries)
	entries, err = client.AuditLog(t.Context(), admin, now.Add(-2*time.Hour), now.Add(-time.Hour))
	require.NoError(t, err)
	require.Empty(t, entries)
	_, err = client.AuditLog(t.Context(), minted.Token, now.Add(-time.Hour), now)
	require.Equal(t, modalapi.KindForbidden, modalapi.KindOf(err))
}
