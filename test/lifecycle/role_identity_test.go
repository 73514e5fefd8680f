// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestRole_RecreatedDoesNotTouchTheDeletedRolesTokens(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	old := m.AddManaged("ci", map[string]any{"environment_roles": "main=contributor", "grace_period": "1h"})
	m.Remove("roles/ci", nil)
	m.AddManaged("ci", map[string]any{"environment_roles": "staging=viewer"})

	require.Empty(t, m.WarningsOf("roles/ci", map[string]any{"environment_roles": "staging=contributor"}))
	require.Equal(t, "contributor", m.ServiceUser(old).Roles["main"], "the deleted role's token keeps its rights until its grace period ends")
	require.NotContains(t, m.Read("rotate/ci"), "previous_tokens")
	m.Remove("roles/ci", map[string]any{"force": true})
	require.True(t, m.Knows(old), "the forced delete concerns only the new role")
	m.Minutes(62)
	require.False(t, m.Knows(old))
}

func TestRole_RecreatedDoesNotKeepTheDeletedRolesTokens(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	old := m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.Remove("roles/ci", nil)
	next := m.AddRole("ci")
	m.Modal.DeleteToken(next)
	m.Minutes(90)
	require.False(t, m.Knows(old), "a rejected token of the new role does not extend the deleted role's token")
}

func TestRole_RecreatedDoesNotCountTheDeletedRolesTokens(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	for range 11 {
		m.AddManaged("ci")
		m.Remove("roles/ci", nil)
	}
	m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor", "max_leases": 1, "ttl": "10d", "max_ttl": "20d"})
	m.Must(logical.ReadOperation, "creds/job", nil)
	m.Remove("roles/job", nil)
	m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "staging=viewer", "max_leases": 1})
	m.Must(logical.ReadOperation, "creds/job", nil)
}

func TestMint_WrongServiceUserInTheAnswerIsNotDeleted(t *testing.T) {
	t.Parallel()
	for name, withToken := range map[string]bool{"its ID alone": false, "its ID and token": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewAllowingOrphans(t)
			current := m.AddManaged("ci")
			secret := m.Credential("ci").Secret
			foreign := m.Workspace.AddServiceUser("team-b")
			rights := m.ServiceUser(foreign.ID).Roles
			for _, other := range [][2]string{{current, secret}, {foreign.ID, foreign.Secret}} {
				id := m.ServiceUser(other[0]).ID
				m.Modal.Inject("ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) {
					a.SetServiceUserId(id)
					if a.SetTokenSecret(""); withToken {
						a.SetTokenId(other[0])
						a.SetTokenSecret(other[1])
					}
				})(m))
				_, err := m.Handle(logical.UpdateOperation, "rotate/ci", nil)
				require.Error(t, err)
			}
			m.Minutes(30)
			require.True(t, m.Knows(current), "the role's current token")
			require.True(t, m.Knows(foreign.ID), "another team's service user")
			require.Equal(t, rights, m.ServiceUser(foreign.ID).Roles)
			require.Len(t, m.Modal.ServiceUsers(), 2, "the new service user is deleted")
			require.Empty(t, m.List("revocations"))
		})
	}
}

// crashWhileVerifying rotates a role, and the node dies before it verifies the new token.
func crashWhileVerifying(m *mounttest.Mount) {
	m.T.Helper()
	m.Modal.OnCall(func(rpc string) {
		if rpc == "TokenInfoGet" {
			m.Storage.Die()
		}
	})
	_, err := m.Handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(m.T, err)
	m.Modal.OnCall(nil)
}

func TestMint_WrongServiceUserInTheAnswerIsKeptAfterACrash(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	current := m.AddManaged("ci")
	secret := m.Credential("ci").Secret
	id := m.ServiceUser(current).ID
	m.Modal.Inject("ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) {
		a.SetServiceUserId(id)
		a.SetTokenId(current)
		a.SetTokenSecret(secret)
	})(m))
	crashWhileVerifying(m)
	m.Restart()
	m.Minutes(60)
	require.True(t, m.Knows(current))
	require.Len(t, m.Modal.ServiceUsers(), 1)
	require.Empty(t, m.List("revocations"))
}

func TestMint_AnswerThatRepeatsAQueuedTokenLosesNoServiceUser(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	queued := m.AddManaged("ci")
	secret := m.Credential("ci").Secret
	m.Write("rotate/ci", nil)
	m.Modal.Inject("ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) {
		a.SetTokenId(queued)
		a.SetTokenSecret(secret)
	})(m))
	crashWhileVerifying(m)
	require.Len(t, m.Modal.ServiceUsers(), 3)
	m.Restart()

	m.Minutes(60)

	require.Len(t, m.Modal.ServiceUsers(), 2, "the new service user is deleted")
	require.Equal(t, []string{queued}, m.List("revocations"))
}

func TestToken_CreatedByThisMountStaysSoAfterAnOwnerChange(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddManaged("ci", map[string]any{"token_ttl": "48h"})
	secret := m.Credential("ci").Secret
	m.Remove("roles/ci", nil)
	require.Equal(t, "automatic", m.Revocation(id, "method"))
	m.Write("roles/ci", map[string]any{"type": "static", "token_id": id, "token_secret": secret, "force": true})
	require.Empty(t, m.List("revocations"))
	m.Remove("roles/ci", map[string]any{"force": true})
	m.Clock.Advance(time.Minute)
	m.Tick()
	require.False(t, m.InQueue(id))
	require.Empty(t, m.Modal.ServiceUsers())
}
