// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
)

func TestRole_RecreatedDoesNotTouchTheDeletedRolesTokens(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	old := m.addManaged("ci", map[string]any{"environment_roles": "main=contributor", "grace_period": "1h"})
	m.remove("roles/ci", nil)
	m.addManaged("ci", map[string]any{"environment_roles": "staging=viewer"})

	require.Empty(t, m.warningsOf("roles/ci", map[string]any{"environment_roles": "staging=contributor"}))
	require.Equal(t, "contributor", m.serviceUser(old).Roles["main"], "the deleted role's token keeps its rights until its grace period ends")
	require.NotContains(t, m.read("rotate/ci"), "previous_tokens")
	m.remove("roles/ci", map[string]any{"force": true})
	require.True(t, m.knows(old), "the forced delete concerns only the new role")
	m.minutes(62)
	require.False(t, m.knows(old))
}

func TestRole_RecreatedDoesNotKeepTheDeletedRolesTokens(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	old := m.addManaged("ci", map[string]any{"grace_period": "1h"})
	m.remove("roles/ci", nil)
	next := m.addRole("ci")
	m.modal.DeleteToken(next)
	m.minutes(90)
	require.False(t, m.knows(old), "a rejected token of the new role does not extend the deleted role's token")
}

func TestRole_RecreatedDoesNotCountTheDeletedRolesTokens(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	for range 11 {
		m.addManaged("ci")
		m.remove("roles/ci", nil)
	}
	m.addManaged("ci")
	m.write("rotate/ci", nil)
	m.write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor", "max_leases": 1, "ttl": "10d", "max_ttl": "20d"})
	m.must(logical.ReadOperation, "creds/job", nil)
	m.remove("roles/job", nil)
	m.write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "staging=viewer", "max_leases": 1})
	m.must(logical.ReadOperation, "creds/job", nil)
}

func TestMint_WrongServiceUserInTheAnswerIsNotDeleted(t *testing.T) {
	t.Parallel()
	for name, withToken := range map[string]bool{"its ID alone": false, "its ID and token": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMountAllowingOrphans(t)
			current := m.addManaged("ci")
			secret := m.credential("ci").Secret
			foreign := m.workspace.AddServiceUser("team-b")
			rights := m.serviceUser(foreign.ID).Roles
			for _, other := range [][2]string{{current, secret}, {foreign.ID, foreign.Secret}} {
				id := m.serviceUser(other[0]).ID
				m.modal.Inject("ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) {
					a.SetServiceUserId(id)
					if a.SetTokenSecret(""); withToken {
						a.SetTokenId(other[0])
						a.SetTokenSecret(other[1])
					}
				})(m))
				_, err := m.handle(logical.UpdateOperation, "rotate/ci", nil)
				require.Error(t, err)
			}
			m.minutes(30)
			require.True(t, m.knows(current), "the role's current token")
			require.True(t, m.knows(foreign.ID), "another team's service user")
			require.Equal(t, rights, m.serviceUser(foreign.ID).Roles)
			require.Len(t, m.modal.ServiceUsers(), 2, "the new service user is deleted")
			require.Empty(t, m.list("revocations"))
		})
	}
}

func TestMint_WrongServiceUserInTheAnswerIsKeptAfterACrash(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	current := m.addManaged("ci")
	secret := m.credential("ci").Secret
	id := m.serviceUser(current).ID
	m.modal.Inject("ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) {
		a.SetServiceUserId(id)
		a.SetTokenId(current)
		a.SetTokenSecret(secret)
	})(m))
	m.modal.OnCall(func(rpc string) {
		if rpc == "TokenInfoGet" {
			m.storage.die()
		}
	})
	_, err := m.handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(t, err)
	m.modal.OnCall(nil)
	m.restart()
	m.minutes(60)
	require.True(t, m.knows(current))
	require.Len(t, m.modal.ServiceUsers(), 1)
	require.Empty(t, m.list("revocations"))
}

func TestToken_CreatedByThisMountStaysSoAfterAnOwnerChange(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	id := m.addManaged("ci", map[string]any{"token_ttl": "48h"})
	secret := m.credential("ci").Secret
	m.remove("roles/ci", nil)
	require.Equal(t, "automatic", m.revocation(id, "method"))
	m.write("roles/ci", map[string]any{"type": "static", "token_id": id, "token_secret": secret, "force": true})
	require.Empty(t, m.list("revocations"))
	m.remove("roles/ci", map[string]any{"force": true})
	m.clock.advance(time.Minute)
	m.tick()
	require.False(t, m.inQueue(id))
	require.Empty(t, m.modal.ServiceUsers())
}
