// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// clone returns a second mount, made from a snapshot of this mount. Both use the same Modal.
func (m *mount) clone() *mount {
	m.t.Helper()
	c := &mount{
		t: m.t, clock: m.clock, modal: m.modal, workspace: m.workspace, member: m.member, storage: newCutStorage(),
		events: logical.NewMockEventSender(), logs: &lockedBuffer{}, system: m.system,
	}
	for key, value := range m.storage.snapshot(m.t) {
		require.NoError(m.t, c.storage.InmemStorage.Put(m.t.Context(), &logical.StorageEntry{Key: key, Value: []byte(value)}))
	}
	c.restart()
	return c
}

// serves reports whether Modal accepts the token that a role returns.
func (m *mount) serves(name string) bool {
	m.t.Helper()
	cred := m.read("creds/" + name)
	return m.modal.Accepts(textIn(cred, "token_id"), textIn(cred, "token_secret"))
}

// newMountAllowingOrphans is newManagedMount without the check for orphans. Tests with two mounts leave orphans.
func newMountAllowingOrphans(t *testing.T) *mount {
	t.Helper()
	m := newMount(t)
	m.system.MaxLeaseTTLVal = 32 * day
	m.workspace.AddEnvironment("staging")
	m.write("config", m.newToken())
	return m
}

func TestOutOfSync_EndsOnlyAfterASuccessfulListOrByAnOperator(t *testing.T) {
	t.Parallel()
	for name, blind := range map[string]func(m, c *mount){
		"failed precondition": listAnswers(modaltest.Fault{Code: codes.FailedPrecondition, Message: "workspace is being moved", Times: -1}),
		"unimplemented":       listAnswers(modaltest.Fault{Code: codes.Unimplemented, Times: -1}),
		"no content type":     listAnswers(modaltest.Fault{NoContentType: true, Times: -1}),
		"forbidden":           listAnswers(modaltest.Fault{Code: codes.PermissionDenied, Times: -1}),
		"rejected":            listAnswers(modaltest.Fault{Code: codes.Unauthenticated, Times: -1}),
		"smaller plan":        func(m, _ *mount) { m.workspace.SetServiceUsers(false) },
		"no admin token":      func(_, c *mount) { c.write("config", map[string]any{"remove_admin_token": true}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMountAllowingOrphans(t)
			m.addManaged("ci", map[string]any{"grace_period": "1h"})
			m.addRole("personal", map[string]any{"grace_period": "1h"})
			m.addManaged("other")
			m.clock.advance(time.Hour)
			m.write("rotate/ci", nil)
			m.write("rotate/personal", m.newToken())
			c := m.clone()
			m.write("rotate/ci", map[string]any{"to_previous": true}) // production returns to the older tokens
			m.write("rotate/personal", map[string]any{"to_previous": true})
			m.write("rotate/other", nil) // and creates a service user that the copy does not know
			c.minutes(61)
			require.Equal(t, true, c.read("status")["out_of_sync"])

			blind(m, c)
			c.minutes(10)

			require.Equal(t, true, c.read("status")["out_of_sync"])
			m.workspace.SetServiceUsers(true)
			require.True(t, m.serves("ci"))
			require.True(t, m.serves("personal"))
		})
	}
}

func listAnswers(f modaltest.Fault) func(m, c *mount) {
	return func(m, _ *mount) { m.modal.Inject("ServiceUserList", f) }
}

func TestOutOfSync_AcceptWithoutAListEndsItWithAWarning(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	m.addManaged("ci")
	c := m.clone()
	m.write("rotate/ci", nil)
	c.clock.advance(time.Hour)
	c.tick()
	require.Equal(t, true, c.read("status")["out_of_sync"])
	c.write("config", map[string]any{"remove_admin_token": true})
	require.Contains(t, c.refused(logical.ListOperation, "orphans", nil), "admin token")
	require.Contains(t, c.refused(logical.UpdateOperation, "orphans", map[string]any{"dry_run": false}), "admin token")

	resp := c.write("orphans", map[string]any{"accept": true})

	require.Equal(t, false, resp.Data["out_of_sync"])
	require.Contains(t, strings.Join(resp.Warnings, " "), "nothing was compared")
	c.minutes(3)
	require.Equal(t, false, c.read("status")["out_of_sync"])
}

func TestOutOfSync_IsFoundAfterAStartWithNothingDue(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	m.addManaged("ci")
	c := m.clone()
	m.write("rotate/ci", nil)
	require.NotContains(t, c.read("status"), "last_compared_at", "nothing was compared")
	c.tick()
	require.Equal(t, m.clock.now().Format(time.RFC3339), c.read("status")["last_compared_at"])
	require.Equal(t, false, c.read("status")["out_of_sync"], "the orphan is too new to judge")
	c.minutes(11)
	require.Equal(t, true, c.read("status")["out_of_sync"])
	m.minutes(3)
	lists := len(m.modal.Calls("ServiceUserList"))
	m.minutes(10)
	require.Len(t, m.modal.Calls("ServiceUserList"), lists, "a mount that is in sync compares again when something is due")
}

func TestOutOfSync_IsNotRaisedByALaggingList(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	m.write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor", "ttl": "1h", "max_ttl": "2h"})
	m.lagList(90 * time.Second)
	var leases []*logical.Secret
	for range 10 {
		leases = append(leases, vaultLease(t, m, m.must(logical.ReadOperation, "creds/job", nil)))
	}
	m.clock.advance(20 * time.Minute)
	for i, lease := range leases {
		_, err := m.leaseRequest(logical.RevokeOperation, lease)
		require.NoError(t, err)
		m.clock.advance(30 * time.Second)
		if i%2 == 1 {
			m.tick()
		}
	}
	require.NotContains(t, m.eventTypes(), "modal/out-of-sync")
	require.Empty(t, m.modal.ServiceUsers())
}

// lagList makes Modal's list show a deleted service user for a while after its deletion.
func (m *mount) lagList(lag time.Duration) {
	var mu sync.Mutex
	known, deleted := map[string]*pb.ServiceUser{}, map[string]time.Time{}
	m.modal.Inject("ServiceUserList", modaltest.Fault{Times: -1, Mangle: func(answer proto.Message) {
		mu.Lock()
		defer mu.Unlock()
		list, _ := answer.(*pb.ServiceUserListResponse)
		users, listed := list.GetServiceUsers(), map[string]bool{}
		for _, user := range users {
			known[user.GetName()], listed[user.GetName()] = user, true
		}
		for name, user := range known {
			if _, seen := deleted[name]; !listed[name] && !seen {
				deleted[name] = m.clock.now()
			}
			if !listed[name] && m.clock.now().Sub(deleted[name]) < lag {
				users = append(users, user)
			}
		}
		list.SetServiceUsers(users)
	}})
}

func TestOutOfSync_IsFoundInASnapshotTakenDuringACreation(t *testing.T) {
	t.Parallel()
	for name, create := range map[string]func(m *mount) map[string]any{
		"a rotation": func(m *mount) map[string]any {
			m.write("rotate/ci", nil)
			return m.read("creds/ci")
		},
		"a lease": func(m *mount) map[string]any { return m.must(logical.ReadOperation, "creds/job", nil).Data },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newMountAllowingOrphans(t)
			m.addManaged("ci")
			m.write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
			m.clock.advance(time.Hour)
			var c *mount
			m.modal.OnCall(func(rpc string) {
				if rpc == "ServiceUserInfo" && c == nil {
					c = m.clone() // the snapshot is taken here
				}
			})
			got := create(m)
			m.modal.OnCall(nil)
			for range 30 {
				m.clock.advance(time.Minute)
				require.True(t, m.modal.Use(textIn(got, "token_id"), textIn(got, "token_secret")), "the copy deleted a token that is in use")
				m.tick()
				c.tick()
			}
			require.Equal(t, true, c.read("status")["out_of_sync"])
			orphans := c.list("orphans")
			require.Len(t, orphans, 1)

			c.write("orphans", map[string]any{"accept": true})

			c.minutes(30)
			require.Equal(t, false, c.read("status")["out_of_sync"])
			require.True(t, m.modal.Accepts(textIn(got, "token_id"), textIn(got, "token_secret")))
			require.NotContains(t, c.list("revocations"), orphans[0])
		})
	}
}

func TestOrphans_AreListedWithTheirAge(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	_, err := m.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	m.clock.advance(3 * time.Minute)
	resp := m.must(logical.ListOperation, "orphans", nil)
	require.Equal(t, []string{"vault-2f9f1a7c-gpu-aaaaaaaa"}, resp.Data["keys"])
	info, _ := resp.Data["key_info"].(map[string]any)["vault-2f9f1a7c-gpu-aaaaaaaa"].(map[string]any)
	require.Equal(t, int64(180), info["age"])
}

func TestOutOfSync_IsNotRaisedByTheEnginesOwnUseOfAToken(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.modal.OnCall(func(rpc string) {
		if rpc == "EnvironmentRoleSet" {
			m.storage.die()
		}
	})
	_, err := m.handle(logical.UpdateOperation, "rotate/ci", nil)
	require.Error(t, err)
	m.modal.OnCall(nil)
	m.restart()
	m.clock.advance(5 * time.Minute)
	candidate := m.list("revocations")[0]
	m.refused(logical.DeleteOperation, "revocations/"+candidate, nil)
	m.minutes(10)
	require.NotContains(t, m.eventTypes(), "modal/out-of-sync")
	require.Empty(t, m.list("revocations"))
}
