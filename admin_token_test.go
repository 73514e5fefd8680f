// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestAdminToken_WithoutManagementRightsIsStoredWithAWarning(t *testing.T) {
	t.Parallel()
	for name, admin := range map[string]func(m *mount) map[string]any{
		"plan":         func(m *mount) map[string]any { m.workspace.SetServiceUsers(false); return m.newToken() },
		"plain member": func(m *mount) map[string]any { return tokenData(m.workspace.AddMember("bob").NewToken()) },
		"service user": func(m *mount) map[string]any { return tokenData(m.workspace.AddServiceUser("robot")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMount(t)
			resp := m.write("config", admin(m))
			require.Contains(t, resp.Warnings[0], "static roles work, managed and dynamic roles do not")
			require.Equal(t, false, m.read("config")["manages_service_users"])
			require.NotEmpty(t, m.read("config")["limitation"])
			require.Contains(t, m.refused(logical.UpdateOperation, "roles/new", map[string]any{"type": "managed", "environment_roles": "main=viewer"}),
				"cannot manage service users")
		})
	}
}

func TestAdminToken_ExpiryWarningsComeThirtySevenAndOneDayBefore(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", m.newToken(modaltest.ExpiresAt(start.Add(40*day))))
	warned := func() int { return strings.Count(strings.Join(m.eventTypes(), " "), "modal/expiry-warning") }
	for _, step := range []struct {
		days, events int
	}{{5, 0}, {6, 1}, {10, 1}, {13, 2}, {5, 3}, {2, 3}} {
		for range step.days {
			m.clock.advance(day)
			m.tick()
		}
		require.Equal(t, step.events, warned(), "%d days before the end", int(start.Add(40*day).Sub(m.clock.now())/day))
	}
	resp := m.must(logical.ReadOperation, "config", nil)
	require.Contains(t, resp.Warnings[0], "expired on 2026-04-10T12:00:00Z")
}

func TestManaged_AdminTokenOfAnotherWorkspaceChangesNothing(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", map[string]any{"grace_period": 0})
	other := m.modal.AddWorkspace("globex").AddMember("eve")
	m.write("config", also(tokenData(other.NewToken()), "force", true))

	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", nil), `write an admin token of workspace "acme" to config`)
	m.tick()
	require.Contains(t, m.read("revocations/" + old)["last_error"], `write an admin token of workspace "acme" to config`)
	m.write("config", also(m.newToken(), "force", true))
	m.minutes(2)
	require.False(t, m.inQueue(old))
}

func TestAdminToken_StoredUnverifiedCreatesNothing(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("config", also(m.newToken(), "verify", false))
	require.Contains(t, m.refused(logical.UpdateOperation, "roles/ci", managedRole), "write it again without verify=false: vault write modal/config token_id=")
	require.Empty(t, m.modal.Calls("ServiceUserCreate"))
	m.write("config", m.newToken())
	m.addManaged("ci")
}
