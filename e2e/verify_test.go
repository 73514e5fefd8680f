// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// The engine verifies by itself once per verification_interval. A write to verify does it at once.
func TestVerify_ATokenDeletedAtModalIsReplacedOrReported(t *testing.T) {
	t.Parallel()
	w := newManagedWorld(t)
	w.newManagedRole(t)
	w.newRole(t)
	managed, static := w.current(t), fmt.Sprint(w.read(t, "modal/creds/ci")["token_id"])
	require.Equal(t, "0", fmt.Sprint(w.read(t, "modal/status")["roles_rejected"]))
	for role, id := range map[string]string{"gpu": managed.ID, "ci": static} {
		require.NoError(t, w.emulator.DeleteToken(w.ctx, id))
		asked := parse(t, w.vault(t, "write", "-format=json", "-f", "modal/verify/"+role))
		require.Equal(t, false, asked["accepted"], role)
	}
	healed := w.awaitVersion(t, managed.version+1)
	w.requireAccepted(t, healed.Token)
	require.Equal(t, healed.ID, w.onlyUser(t).TokenID)

	status := w.read(t, "modal/status")
	require.Equal(t, "1", fmt.Sprint(status["roles_rejected"]))
	require.Equal(t, "1", fmt.Sprint(status["roles_ok"]))
	require.Equal(t, "ci", w.list(t, "modal/rotate")[0])
	read := w.run(t, w.CLI, "", "read", "modal/creds/ci")
	require.NoError(t, read.Err(), "a read still returns the rejected token")
	require.Contains(t, read.Stderr+read.Stdout, "vault write modal/rotate/ci")
	w.rotate(t)
	require.Equal(t, "0", fmt.Sprint(w.read(t, "modal/status")["roles_rejected"]))
}
