// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

func TestRestart_KillingThePluginLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.settle(t)

	killed := w.killPlugin(t)

	s.requireUnchanged(t)
	running, err := w.PluginPIDs()
	require.NoError(t, err)
	require.Len(t, running, 1)
	require.NotEqual(t, killed, running[0])
}

func TestRestart_ReloadingThePluginLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.settle(t)
	w.reload(t)
	s.requireUnchanged(t)
}

func TestRestart_SealingAndRestartingVaultLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.settle(t)

	w.vault(t, "operator", "seal")
	require.Contains(t, w.run(t, w.CLI, "", "read", "modal/creds/ci").Stderr, "Vault is sealed")
	require.NoError(t, w.Unseal(w.ctx))
	s.requireUnchanged(t)

	require.NoError(t, w.Restart(w.ctx))
	s.requireUnchanged(t)
}

func TestRestart_UpgradingThePluginLosesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.settle(t)

	w.vault(t, newer.RegisterArgs()...)
	w.vault(t, "secrets", "tune", "-plugin-version="+newer.Version, "modal/")
	w.reload(t)
	require.Equal(t, newer.Version, w.runningVersion(t))
	s.requireUnchanged(t)

	w.vault(t, "secrets", "tune", "-plugin-version="+plugin.Version, "modal/")
	w.reload(t)
	require.Equal(t, plugin.Version, w.runningVersion(t))
	s.requireUnchanged(t)
}

func TestRestart_ReadsWorkWhileModalIsDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s := w.settle(t)
	w.vault(t, "write", "modal/config", "server_url=http://127.0.0.1:1", "request_timeout=1s")
	w.reload(t)
	w.requireToken(t, s.current)
	failed := w.run(t, w.CLI, "as-0123456789abcdefABCDEF", "write", "modal/rotate/ci", "token_id=ak-0123456789abcdefABCDEF", "token_secret=-")
	require.Equal(t, 2, failed.Code)
	require.Contains(t, failed.Stderr, "Code: 502")
	require.Contains(t, failed.Stderr, "no answer from server_url http://127.0.0.1:1: ")
	require.NotContains(t, failed.Stderr, "1 error occurred")
	w.requireToken(t, s.current)
}

// reload restarts the plugin by name, because "vault plugin reload -mounts" of Vault 1.21 requests a path
// that its server does not have. It omits -type, which OpenBao does not know.
func (w *world) reload(t *testing.T) {
	t.Helper()
	w.vault(t, "plugin", "reload", "-plugin="+lab.PluginName)
}

// settled is an engine with a role that was rotated once, and the answers of the engine after that rotation.
type settled struct {
	w             *world
	old, current  lab.Token
	creds         data
	role, revoked string
}

// settle rotates a role once, so that the role has a history and the revocation queue has a revocation.
func (w *world) settle(t *testing.T) *settled {
	t.Helper()
	s := &settled{w: w, old: w.newRole(t, "environment=staging"), current: w.rotate(t)}
	s.creds = w.requireToken(t, s.current)
	s.role = w.vault(t, "read", "-format=json", "-field=data", "modal/roles/ci")
	s.revoked = w.vault(t, "list", "-format=json", "modal/revocations")
	require.Contains(t, s.revoked, s.old.ID)
	return s
}

// requireUnchanged asserts that the engine returns the same token, version and times, and that the role and
// the revocation queue are unchanged.
func (s *settled) requireUnchanged(t *testing.T) {
	t.Helper()
	creds := s.w.requireToken(t, s.current)
	for _, field := range []string{"version", "last_vault_rotation", "workspace", "environment", "rotation_period"} {
		require.Equal(t, s.creds[field], creds[field], field)
	}
	require.Equal(t, json.Number("2"), creds["version"])
	require.Equal(t, s.role, s.w.vault(t, "read", "-format=json", "-field=data", "modal/roles/ci"))
	require.Equal(t, s.revoked, s.w.vault(t, "list", "-format=json", "modal/revocations"))
}
