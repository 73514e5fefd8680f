// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// The tests in this file change the rights that tokens have at Modal, and count a role's previous tokens.

// maxPreviousTokens is the greatest number of previous tokens that an operator can keep valid for a role.
const maxPreviousTokens = 10

func TestEnvironmentRoles_WritingTheStoredValueRepairsModal(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddManaged("ci", map[string]any{"environment_roles": "main=viewer"})
	name := m.ServiceUser(id).Name
	m.Workspace.SetServiceUserRole(name, "main", "contributor")
	m.Workspace.SetServiceUserRole(name, "staging", "contributor")
	before := m.Storage.Snapshot(t)
	m.Write("roles/ci", map[string]any{"environment_roles": "main=viewer"})
	roles := m.ServiceUser(id).Roles
	require.Equal(t, "viewer", roles["main"])
	require.NotEqual(t, "contributor", roles["staging"])
	m.UnchangedSince(before)
}

// cancelAtSecondRole cancels a request while Modal sets the second environment role. Modal answers only once the client
// has gone, so the client never sees that answer.
func cancelAtSecondRole(m *mounttest.Mount, cancel context.CancelFunc) {
	var set atomic.Int64
	m.Modal.Inject("EnvironmentRoleSet", modaltest.Fault{Delay: time.Minute, Match: func(modaltest.Call) bool {
		second := set.Add(1) == 2
		if second {
			cancel()
		}
		return second
	}})
}

func TestUndo_WhenCanceledTakesBackTheRightsThatItGave(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"environment_roles": "main=viewer,staging=viewer"})
	m.Write("rotate/ci", nil)
	m.Write("roles/ci", map[string]any{"environment_roles": "main=contributor,staging=contributor"})
	ctx, cancel := context.WithCancel(t.Context())
	cancelAtSecondRole(m, cancel)

	resp, err := m.HandleRequest(ctx, &logical.Request{
		Operation: logical.UpdateOperation, Path: "rotate/ci", Data: map[string]any{"to_previous": true}, Storage: m.Storage, MountPoint: "modal/",
	})

	require.Error(t, err)
	require.Contains(t, mounttest.ErrorText(resp), "keeps its old environment roles")
	require.Equal(t, map[string]string{"main": "viewer", "staging": "viewer"}, m.ServiceUser(old).Roles)
	require.NotEqual(t, old, m.TokenID("ci"))
}

func TestUndo_WhenCanceledStillRemovesExcessRights(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"environment_roles": "main=viewer,staging=viewer"})
	m.Write("rotate/ci", nil)
	name := m.ServiceUser(old).Name
	m.Workspace.SetServiceUserRole(name, "main", "contributor")
	ctx, cancel := context.WithCancel(t.Context())
	cancelAtSecondRole(m, cancel)

	resp, err := m.HandleRequest(ctx, &logical.Request{
		Operation: logical.UpdateOperation, Path: "rotate/ci", Data: map[string]any{"to_previous": true}, Storage: m.Storage, MountPoint: "modal/",
	})

	require.Error(t, err)
	require.Contains(t, mounttest.ErrorText(resp), "up to those of the role")
	require.Equal(t, map[string]string{"main": "viewer", "staging": "viewer"}, m.ServiceUser(old).Roles)
	require.NotEqual(t, old, m.TokenID("ci"))
}

func TestEnvironmentRoles_RemovalAppliesToPreviousTokensToo(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"environment_roles": "main=contributor,staging=contributor"})
	m.Write("rotate/ci", nil)
	require.Empty(t, m.WarningsOf("roles/ci", map[string]any{"environment_roles": "main=viewer"}))
	for _, id := range []string{old, m.TokenID("ci")} {
		require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, m.ServiceUser(id).Roles)
	}
}

func TestEnvironmentRoles_WarnsWhenAPreviousTokenKeepsRights(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	var sets atomic.Int64
	m.Modal.Inject("EnvironmentRoleSet", modaltest.Fault{
		Code: codes.PermissionDenied, Times: -1, Match: func(modaltest.Call) bool { return sets.Add(1) > 1 },
	})
	told := m.WarningsOf("roles/ci", map[string]any{"environment_roles": "main=viewer"})
	require.Contains(t, told, "the previous token "+old+" keeps its old environment roles until it is revoked")
	require.Contains(t, told, "revocations/"+old+" force=true")
	require.Equal(t, "contributor", m.ServiceUser(old).Roles["main"])
}

func TestEnvironmentRoles_AddedRightsNeverReachPreviousTokens(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	previous := m.AddManaged("ci", map[string]any{"environment_roles": "main=viewer,staging=contributor"})
	m.Write("rotate/ci", nil)
	require.Empty(t, m.WarningsOf("roles/ci", map[string]any{"environment_roles": "main=contributor,staging=viewer"}))
	require.Equal(t, map[string]string{"main": "contributor", "staging": "viewer"}, m.ServiceUser(m.TokenID("ci")).Roles)
	require.Equal(t, map[string]string{"main": "viewer", "staging": "viewer"}, m.ServiceUser(previous).Roles, "a previous token gets the lower of its own right and the role's")
}

func TestRotate_PreviousTokenLimitBindsOperatorsNotTheSchedule(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"grace_period": "300d"})
	for range maxPreviousTokens {
		m.Write("rotate/ci", nil)
	}
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", nil), "10 previous tokens in their grace period")
	plan := m.Write("rotate/ci", map[string]any{"dry_run": true}).Data
	require.Contains(t, mounttest.ToJSON(t, plan["problems"]), "10 previous tokens in their grace period", "a dry run lists every problem")
	require.Len(t, m.Modal.ServiceUsers(), maxPreviousTokens+1)
	m.Write("rotate/ci", map[string]any{"to_previous": true})
	require.Len(t, m.List("revocations"), maxPreviousTokens, "an undo keeps the number of previous tokens")

	m.Write("rotate/ci", map[string]any{"grace_period": 0})
	m.Minutes(2)
	require.Len(t, m.List("revocations"), maxPreviousTokens)

	before := m.TokenID("ci")
	m.Clock.Advance(91 * mounttest.Day)
	m.Tick()
	require.NotEqual(t, before, m.TokenID("ci"))
	require.Len(t, m.List("revocations"), maxPreviousTokens+1)
}

func TestStatic_PreviousTokenLimitBindsEachWayToRotate(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci", map[string]any{"grace_period": "30d"})
	for range maxPreviousTokens {
		m.Write("rotate/ci", m.NewToken())
	}
	for _, ask := range []map[string]any{nil, {"force": true}} {
		require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci/approval", ask), "10 previous tokens in their grace period")
	}
	next := m.NewToken()
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", next), "10 previous tokens in their grace period")
	plan := m.Write("rotate/ci", mounttest.Also(next, "dry_run", true)).Data
	require.Contains(t, mounttest.ToJSON(t, plan["problems"]), "10 previous tokens in their grace period")
	require.Empty(t, m.Modal.Calls("TokenFlowCreate"))

	m.Write("rotate/ci/approval", map[string]any{"force": true, "grace_period": 0})
}
