// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func TestHowToDelete_PutsNoNameIntoACommandThatAShellWouldRun(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"a$(b)", "a b", "-y", "a;b", "", "`a`"} {
		token := Token{IdentityType: modalapi.IdentityServiceUser, Identity: name}
		require.NotContains(t, token.howToDelete(), "modal workspace", name)
	}
	token := Token{IdentityType: modalapi.IdentityServiceUser, Identity: "robot-1"}
	require.Contains(t, token.howToDelete(), "modal workspace service-users delete robot-1")
}
