// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// The tests in this file change the rights that tokens have at Modal, and count a role's previous tokens.

// maxPreviousTokens is the greatest number of previous tokens that an operator can keep valid for a role.
const maxPreviousTokens = 10

func TestEnvironmentRoles_WritingTheStoredValueRepairsModal(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	id := m.addManaged("ci", map[string]any{"environment_roles": "main=viewer"})
	name := m.serviceUser(id).Name
	m.workspace.SetServiceUserRole(name, "main", "contributor")
	m.workspace.SetServiceUserRole(name, "staging", "contributor")
	before := m.storage.snapshot(t)
	m.write("roles/ci", map[string]any{"environment_roles": "main=viewer"})
	roles := m.serviceUser(id).Roles
	require.Equal(t, "viewer", roles["main"])
	require.NotEqual(t, "contributor", roles["staging"])
	m.unchangedSince(before)
}

func TestUndo_WhenCanceledTakesBackTheRightsThatItGave(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"environment_roles": "main=viewer,staging=viewer"})
	m.write("rotate/ci", nil)
	m.write("roles/ci", map[string]any{"environment_roles": "main=contributor,staging=contributor"})
	ctx, cancel := context.WithCancel(t.Context())
	var set atomic.Int64
	m.modal.OnCall(func(rpc string) {
		if rpc == "EnvironmentRoleSet" && set.Add(1) == 2 {
			cancel()
		}
	})

	resp, err := m.HandleRequest(ctx, &logical.Request{
		Operation: logical.UpdateOperation, Path: "rotate/ci", Data: map[string]any{"to_previous": true}, Storage: m.storage, MountPoint: "modal/",
	})

	require.Error(t, err)
	require.Contains(t, errorText(resp), "keeps its old environment roles")
	require.Equal(t, map[string]string{"main": "viewer", "staging": "viewer"}, m.serviceUser(old).Roles)
	require.NotEqual(t, old, m.tokenID("ci"))
}

func TestUndo_WhenCanceledStillRemovesExcessRights(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"environment_roles": "main=viewer,staging=viewer"})
	m.write("rotate/ci", nil)
	name := m.serviceUser(old).Name
	m.workspace.SetServiceUserRole(name, "main", "contributor")
	ctx, cancel := context.WithCancel(t.Context())
	var set atomic.Int64
	m.modal.OnCall(func(rpc string) {
		if rpc == "EnvironmentRoleSet" && set.Add(1) == 2 {
			cancel()
		}
	})

	resp, err := m.HandleRequest(ctx, &logical.Request{
		Operation: logical.UpdateOperation, Path: "rotate/ci", Data: map[string]any{"to_previous": true}, Storage: m.storage, MountPoint: "modal/",
	})

	require.Error(t, err)
	require.Contains(t, errorText(resp), "up to those of the role")
	require.Equal(t, map[string]string{"main": "viewer", "staging": "viewer"}, m.serviceUser(old).Roles)
	require.NotEqual(t, old, m.tokenID("ci"))
}

func TestEnvironmentRoles_RemovalAppliesToPreviousTokensToo(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"environment_roles": "main=contributor,staging=contributor"})
	m.write("rotate/ci", nil)
	require.Empty(t, m.warningsOf("roles/ci", map[string]any{"environment_roles": "main=viewer"}))
	for _, id := range []string{old, m.tokenID("ci")} {
		require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, m.serviceUser(id).Roles)
	}
}

func TestEnvironmentRoles_WarnsWhenAPreviousTokenKeepsRights(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", nil)
	var sets atomic.Int64
	m.modal.Inject("EnvironmentRoleSet", modaltest.Fault{
		Code: codes.PermissionDenied, Times: -1, Match: func(modaltest.Call) bool { return sets.Add(1) > 1 },
	})
	told := m.warningsOf("roles/ci", map[string]any{"environment_roles": "main=viewer"})
	require.Contains(t, told, "the previous token "+old+" keeps its old environment roles until it is revoked")
	require.Contains(t, told, "revocations/"+old+" force=true")
	require.Equal(t, "contributor", m.serviceUser(old).Roles["main"])
}

func TestEnvironmentRoles_AddedRightsNeverReachPreviousTokens(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	previous := m.addManaged("ci", map[string]any{"environment_roles": "main=viewer,staging=contributor"})
	m.write("rotate/ci", nil)
	require.Empty(t, m.warningsOf("roles/ci", map[string]any{"environment_roles": "main=contributor,staging=viewer"}))
	require.Equal(t, map[string]string{"main": "contributor", "staging": "viewer"}, m.serviceUser(m.tokenID("ci")).Roles)
	require.Equal(t, map[string]string{"main": "viewer", "staging": "viewer"}, m.serviceUser(previous).Roles, "a previous token gets the lower of its own right and the role's")
}

func (m *mount) warningsOf(path string, data map[string]any) string {
	m.t.Helper()
	resp := m.write(path, data)
	if resp == nil {
		return ""
	}
	return strings.Join(resp.Warnings, "\n")
}

func TestRotate_PreviousTokenLimitBindsOperatorsNotTheSchedule(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"grace_period": "300d"})
	for range maxPreviousTokens {
		m.write("rotate/ci", nil)
	}
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", nil), "10 previous tokens in their grace period")
	plan := m.write("rotate/ci", map[string]any{"dry_run": true}).Data
	require.Contains(t, toJSON(t, plan["problems"]), "10 previous tokens in their grace period", "a dry run lists every problem")
	require.Len(t, m.modal.ServiceUsers(), maxPreviousTokens+1)
	m.write("rotate/ci", map[string]any{"to_previous": true})
	require.Len(t, m.list("revocations"), maxPreviousTokens, "an undo keeps the number of previous tokens")

	m.write("rotate/ci", map[string]any{"grace_period": 0})
	m.minutes(2)
	require.Len(t, m.list("revocations"), maxPreviousTokens)

	before := m.tokenID("ci")
	m.clock.advance(91 * day)
	m.tick()
	require.NotEqual(t, before, m.tokenID("ci"))
	require.Len(t, m.list("revocations"), maxPreviousTokens+1)
}
