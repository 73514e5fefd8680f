// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// Clone returns a second mount, made from a snapshot of this mount. Both use the same Modal.
func (m *Mount) Clone() *Mount {
	m.T.Helper()
	c := &Mount{
		T: m.T, Clock: m.Clock, Modal: m.Modal, Workspace: m.Workspace, Member: m.Member, Storage: NewCutStorage(),
		Events: logical.NewMockEventSender(), Logs: &LockedBuffer{}, System: m.System,
	}
	for key, value := range m.Storage.Snapshot(m.T) {
		require.NoError(m.T, c.Storage.InmemStorage.Put(m.T.Context(), &logical.StorageEntry{Key: key, Value: []byte(value)}))
	}
	c.Restart()
	return c
}

// Serves reports whether Modal accepts the token that a role returns.
func (m *Mount) Serves(name string) bool {
	m.T.Helper()
	cred := m.Read("creds/" + name)
	return m.Modal.Accepts(TextIn(cred, "token_id"), TextIn(cred, "token_secret"))
}

// NewAllowingOrphans is newManagedMount without the check for orphans. Tests with two mounts leave orphans.
func NewAllowingOrphans(t *testing.T) *Mount {
	t.Helper()
	m := New(t)
	m.System.MaxLeaseTTLVal = 32 * Day
	m.Workspace.AddEnvironment("staging")
	m.Write("config", m.NewToken())
	return m
}

// LagList makes Modal's list show a deleted service user for a while after its deletion.
func (m *Mount) LagList(lag time.Duration) {
	var mu sync.Mutex
	known, deleted := map[string]*pb.ServiceUser{}, map[string]time.Time{}
	m.Modal.Inject("ServiceUserList", modaltest.Fault{Times: -1, Mangle: func(answer proto.Message) {
		mu.Lock()
		defer mu.Unlock()
		list, _ := answer.(*pb.ServiceUserListResponse)
		users, listed := list.GetServiceUsers(), map[string]bool{}
		for _, user := range users {
			known[user.GetName()], listed[user.GetName()] = user, true
		}
		for name, user := range known {
			if _, seen := deleted[name]; !listed[name] && !seen {
				deleted[name] = m.Clock.Now()
			}
			if !listed[name] && m.Clock.Now().Sub(deleted[name]) < lag {
				users = append(users, user)
			}
		}
		list.SetServiceUsers(users)
	}})
}
