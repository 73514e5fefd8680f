// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestVerify_ShowsLastUseChangedRolesAndChangedExpiry(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddManaged("ci")
	m.Clock.Advance(time.Hour)
	read := m.Read("creds/ci")
	require.True(t, m.Modal.Use(id, mounttest.TextIn(read, "token_secret")))
	m.Clock.Advance(time.Hour)
	m.Modal.SetExpiry(id, mounttest.StartTime.Add(20*mounttest.Day))
	m.Workspace.SetServiceUserRole(m.ServiceUser(id).Name, "main", "viewer")

	resp := m.Write("verify/ci", nil)

	require.Equal(t, "2026-03-01T13:00:00Z", resp.Data["last_used_at"])
	require.Equal(t, true, resp.Data["roles_differ"])
	require.Equal(t, "2026-03-21T12:00:00Z", resp.Data["expires_at"])
	require.Contains(t, resp.Warnings[0], "expires on 2026-03-21T12:00:00Z, but the engine had stored that it expires never: the engine rotates the role at 2026-03-19T12:00:00Z")
	require.Equal(t, "2026-03-21T12:00:00Z", m.Read("creds/ci")["expires_at"])
	require.Equal(t, mounttest.StartTime.Add(18*mounttest.Day), m.NextRotation("ci"))
	require.Empty(t, m.Write("verify/ci", nil).Warnings)
}

func TestVerify_CustomRoleGivenAtModalIsShownAndReplaced(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddManaged("ci")
	m.Workspace.AddCustomRole("viewer at night", "secret.read")
	name := m.ServiceUser(id).Name
	m.Workspace.SetServiceUserRole(name, "main", "viewer at night")

	answer := m.Write("verify/ci", nil).Data

	require.Equal(t, true, answer["roles_differ"])
	require.Equal(t, map[string]modalapi.EnvironmentRole{"main": "viewer at night (custom)"}, answer["environment_roles"])
	m.Minutes(2)
	require.Equal(t, map[string]string{"main": "contributor"}, m.ServiceUser(id).Roles)
}

func TestEvents_ExpiryWarningNamesTheRole(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("roles/ci", mounttest.Also(m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(20*mounttest.Day))), "type", "static"))
	m.Tick()
	sent := m.Events.Events[len(m.Events.Events)-1]
	require.Equal(t, "modal/expiry-warning", string(sent.Type))
	metadata := sent.Event.GetMetadata().AsMap()
	require.Equal(t, "rotate/ci", metadata["path"])
	require.Equal(t, "creds/ci", metadata["data_path"])
	require.Equal(t, "ci", metadata["role"])
}
