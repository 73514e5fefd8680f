// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

func TestNextStep_QuotesNoNameIntoACommandThatAShellWouldRun(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a$(b)", "a b", "-y", "a;b", "", "`a`"} {
		token := model.Token{IdentityType: modalapi.IdentityServiceUser, Identity: name}
		require.NotContains(t, token.DeletionInstructions(), "modal workspace", name)
	}
	token := model.Token{IdentityType: modalapi.IdentityServiceUser, Identity: "robot-1"}
	require.Contains(t, token.DeletionInstructions(), "modal workspace service-users delete robot-1")
}
