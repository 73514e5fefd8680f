// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestAdminToken_WithoutManagementRightsIsStoredWithAWarning(t *testing.T) {
	t.Parallel()
	for name, admin := range map[string]func(m *mounttest.Mount) map[string]any{
		"plan": func(m *mounttest.Mount) map[string]any { m.Workspace.SetServiceUsers(false); return m.NewToken() },
		"plain member": func(m *mounttest.Mount) map[string]any {
			return mounttest.TokenData(m.Workspace.AddMember("bob").NewToken())
		},
		"service user": func(m *mounttest.Mount) map[string]any {
			return mounttest.TokenData(m.Workspace.AddServiceUser("robot"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.New(t)
			resp := m.Write("config", admin(m))
			require.Contains(t, resp.Warnings[0], "static roles work, managed and dynamic roles do not")
			require.Equal(t, false, m.Read("config")["manages_service_users"])
			require.NotEmpty(t, m.Read("config")["limitation"])
			require.Contains(t, m.Refused(logical.UpdateOperation, "roles/new", map[string]any{"type": "managed", "environment_roles": "main=viewer"}),
				"cannot manage service users")
		})
	}
}

func TestAdminToken_ExpiryWarningsComeThirtySevenAndOneDayBefore(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(40*mounttest.Day))))
	warned := func() int { return strings.Count(strings.Join(m.EventTypes(), " "), "modal/expiry-warning") }
	for _, step := range []struct {
		days, events int
	}{{5, 0}, {6, 1}, {10, 1}, {13, 2}, {5, 3}, {2, 3}} {
		for range step.days {
			m.Clock.Advance(mounttest.Day)
			m.Tick()
		}
		require.Equal(t, step.events, warned(), "%d days before the end", int(mounttest.StartTime.Add(40*mounttest.Day).Sub(m.Clock.Now())/mounttest.Day))
	}
	resp := m.Must(logical.ReadOperation, "config", nil)
	require.Contains(t, resp.Warnings[0], "expired on 2026-04-10T12:00:00Z")
}

func TestManaged_AdminTokenOfAnotherWorkspaceChangesNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", map[string]any{"grace_period": 0})
	other := m.Modal.AddWorkspace("globex").AddMember("eve")
	m.Write("config", mounttest.Also(mounttest.TokenData(other.NewToken()), "force", true))

	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", nil), `write an admin token of workspace "acme" to config`)
	m.Tick()
	require.Contains(t, m.Read("revocations/" + old)["last_error"], `write an admin token of workspace "acme" to config`)
	m.Write("config", mounttest.Also(m.NewToken(), "force", true))
	m.Minutes(2)
	require.False(t, m.InQueue(old))
}

func TestAdminToken_StoredUnverifiedCreatesNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", mounttest.Also(m.NewToken(), "verify", false))
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/ci", managedRole), "write it again without verify=false: vault write modal/config token_id=")
	require.Empty(t, m.Modal.Calls("ServiceUserCreate"))
	m.Write("config", m.NewToken())
	m.AddManaged("ci")
}
