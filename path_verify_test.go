// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestVerify_ShowsLastUseChangedRolesAndChangedExpiry(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	id := m.addManaged("ci")
	m.clock.advance(time.Hour)
	read := m.read("creds/ci")
	require.True(t, m.modal.Use(id, textIn(read, "token_secret")))
	m.clock.advance(time.Hour)
	m.modal.SetExpiry(id, start.Add(20*day))
	m.workspace.SetServiceUserRole(m.serviceUser(id).Name, "main", "viewer")

	resp := m.write("verify/ci", nil)

	require.Equal(t, "2026-03-01T13:00:00Z", resp.Data["last_used_at"])
	require.Equal(t, true, resp.Data["roles_differ"])
	require.Equal(t, "2026-03-21T12:00:00Z", resp.Data["expires_at"])
	require.Contains(t, resp.Warnings[0], "expires on 2026-03-21T12:00:00Z, but the engine had stored that it expires never: the engine rotates the role at 2026-03-19T12:00:00Z")
	require.Equal(t, "2026-03-21T12:00:00Z", m.read("creds/ci")["expires_at"])
	require.Equal(t, start.Add(18*day), m.nextRotation("ci"))
	require.Empty(t, m.write("verify/ci", nil).Warnings)
}

func TestEvents_ExpiryWarningNamesTheRole(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/ci", also(m.newToken(modaltest.ExpiresAt(start.Add(20*day))), "type", "static"))
	m.tick()
	sent := m.events.Events[len(m.events.Events)-1]
	require.Equal(t, "modal/expiry-warning", string(sent.Type))
	metadata := sent.Event.GetMetadata().AsMap()
	require.Equal(t, "rotate/ci", metadata["path"])
	require.Equal(t, "creds/ci", metadata["data_path"])
	require.Equal(t, "ci", metadata["role"])
}
