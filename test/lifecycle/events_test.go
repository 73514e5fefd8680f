// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	modalsecrets "vault-plugin-secrets-modal"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
	"vault-plugin-secrets-modal/internal/state"
)

// The tests in this file check the events: when the engine sends them, and their fields.

// newestEvent returns the fields of the newest event of a type without the owner of its token. The owner must be
// complete.
func newestEvent(m *mounttest.Mount, kind, identityType string) map[string]any {
	m.T.Helper()
	events := m.EventsOf(kind)
	require.NotEmpty(m.T, events, kind)
	event := events[len(events)-1]
	require.Equal(m.T, "acme", event["workspace"], kind)
	require.Equal(m.T, m.Workspace.ID(), event["workspace_id"], kind)
	require.Equal(m.T, identityType, event["identity_type"], kind)
	require.NotEmpty(m.T, event["identity"], kind)
	require.NotEmpty(m.T, event["identity_id"], kind)
	for _, field := range []string{"workspace", "workspace_id", "identity_type", "identity", "identity_id"} {
		delete(event, field)
	}
	return event
}

func TestEvents_OfAManagedRoleHaveAllTheirFields(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	first := m.AddManaged("ci", map[string]any{"rotation_period": "1d"})
	require.Equal(t, map[string]any{
		"path": "roles/ci", "data_path": "creds/ci", "operation": "create", "modified": "true",
		"role": "ci", "version": "1", "token_id": first,
	}, newestEvent(m, "modal/role-write", "service_user"))

	m.Write("rotate/ci", map[string]any{"grace_period": 0})
	second := m.TokenID("ci")
	require.Equal(t, map[string]any{
		"path": "rotate/ci", "data_path": "creds/ci", "operation": "update", "modified": "true",
		"role": "ci", "version": "2", "token_id": second, "previous_token_id": first,
	}, newestEvent(m, "modal/rotate", "service_user"))

	m.Modal.Inject("ServiceUserDelete", deleteFails)
	m.Tick()
	require.Equal(t, map[string]any{
		"path": "revocations/" + first, "modified": "false", "role": "ci", "version": "1", "token_id": first,
	}, newestEvent(m, "modal/revoke-fail", "service_user"))
	m.Modal.ClearFaults()
	m.Minutes(3)
	require.Equal(t, map[string]any{
		"path": "revocations/" + first, "modified": "false", "role": "ci", "version": "1", "token_id": first, "proof": "deleted",
	}, newestEvent(m, "modal/revoke", "service_user"))

	failed := map[string]any{
		"path": "rotate/ci", "data_path": "creds/ci", "operation": "update", "modified": "false",
		"role": "ci", "version": "2", "token_id": second,
	}
	m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.DataLoss, Times: -1})
	require.Error(t, m.Try(logical.UpdateOperation, "rotate/ci", nil))
	require.Equal(t, failed, newestEvent(m, "modal/rotate-fail", "service_user"))
	m.Clock.Advance(25 * time.Hour)
	m.Tick()
	delete(failed, "operation")
	require.Equal(t, failed, newestEvent(m, "modal/rotate-fail", "service_user"), "the worker's rotation failed")
	m.Modal.ClearFaults()
	m.Minutes(15)
	third := m.TokenID("ci")
	require.Equal(t, map[string]any{
		"path": "rotate/ci", "data_path": "creds/ci", "modified": "true",
		"role": "ci", "version": "3", "token_id": third, "previous_token_id": second,
	}, newestEvent(m, "modal/rotate", "service_user"))

	m.Write("rotate/ci", map[string]any{"to_previous": true})
	require.Equal(t, map[string]any{
		"path": "rotate/ci", "data_path": "creds/ci", "operation": "update", "modified": "true",
		"role": "ci", "version": "4", "token_id": second, "previous_token_id": third,
	}, newestEvent(m, "modal/rotate", "service_user"))

	m.Modal.DeleteToken(second)
	m.Write("verify/ci", nil)
	require.Equal(t, map[string]any{
		"path": "rotate/ci", "data_path": "creds/ci", "operation": "update", "modified": "false",
		"role": "ci", "version": "4", "token_id": second,
	}, newestEvent(m, "modal/token-rejected", "service_user"))
	m.Write("verify/ci", nil)
	require.Len(t, m.EventsOf("modal/token-rejected"), 1, "once for each token")

	m.Remove("roles/ci", nil)
	require.Equal(t, map[string]any{
		"path": "roles/ci", "operation": "delete", "modified": "true", "role": "ci", "version": "4", "token_id": second,
	}, newestEvent(m, "modal/role-delete", "service_user"))
}

func TestEvents_OfAStaticRoleAndAnApprovalHaveAllTheirFields(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	first := m.AddRole("ci", map[string]any{"revoke_previous": false})
	m.Write("rotate/ci/approval", nil)
	require.Equal(t, map[string]any{"path": "rotate/ci/approval", "operation": "update", "modified": "true", "role": "ci"},
		m.EventsOf("modal/approval-begin")[0])
	_, approved := m.Approved("rotate/ci/approval", m.Member)
	rotated := newestEvent(m, "modal/rotate", "user")
	delete(rotated, "operation") // the request for the state or the goroutine that waits for Modal may find the token first
	require.Equal(t, map[string]any{
		"path": "rotate/ci", "data_path": "creds/ci", "modified": "true",
		"role": "ci", "version": "2", "token_id": approved.ID, "previous_token_id": first,
	}, rotated)
	manual := newestEvent(m, "modal/revoke-manual", "user")
	delete(manual, "operation")
	require.Equal(t, map[string]any{
		"path": "revocations/" + first, "modified": "false", "role": "ci", "version": "1", "token_id": first,
	}, manual)

	m.Write("rotate/ci", m.NewToken())
	manual = newestEvent(m, "modal/revoke-manual", "user")
	require.Equal(t, map[string]any{
		"path": "revocations/" + approved.ID, "operation": "update", "modified": "false", "role": "ci", "version": "2", "token_id": approved.ID,
	}, manual)

	expiring := m.NewToken(modaltest.ExpiresAt(m.Clock.Now().Add(20 * mounttest.Day)))
	m.Write("rotate/ci", expiring)
	m.Tick()
	require.Equal(t, map[string]any{
		"path": "rotate/ci", "data_path": "creds/ci", "modified": "false", "role": "ci", "version": "4", "token_id": mounttest.TextIn(expiring, "token_id"),
	}, newestEvent(m, "modal/expiry-warning", "user"))

	m.Remove("roles/ci", nil)
	require.Equal(t, map[string]any{
		"path": "revocations/" + mounttest.TextIn(expiring, "token_id"), "operation": "delete", "modified": "false", "role": "ci", "version": "4",
		"token_id": mounttest.TextIn(expiring, "token_id"),
	}, newestEvent(m, "modal/revoke-manual", "user"))
}

func TestEvents_OfTheAdminTokenHaveAllTheirFields(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	first, _ := m.Read("config")["token_id"].(string)
	m.Write("config/approval", nil)
	require.Equal(t, map[string]any{"path": "config/approval", "operation": "update", "modified": "true"}, m.EventsOf("modal/approval-begin")[0])
	m.Remove("config/approval", nil)

	next := m.NewToken()
	m.Write("config/rotate", next)
	second := mounttest.TextIn(next, "token_id")
	require.Equal(t, map[string]any{
		"path": "config", "operation": "update", "modified": "true", "token_id": second, "previous_token_id": first,
	}, newestEvent(m, "modal/config-write", "user"))

	m.Modal.DeleteToken(second)
	m.Clock.Advance(25 * time.Hour)
	m.Tick()
	require.Equal(t, map[string]any{"path": "config", "modified": "false", "token_id": second}, newestEvent(m, "modal/token-rejected", "user"))
	m.Clock.Advance(25 * time.Hour)
	m.Tick()
	require.Len(t, m.EventsOf("modal/token-rejected"), 1, "once for each token")

	m.Write("config", map[string]any{"remove_admin_token": true})
	require.Equal(t, map[string]any{
		"path": "config", "operation": "update", "modified": "true", "previous_token_id": second,
	}, newestEvent(m, "modal/config-write", "user"))
	require.Equal(t, map[string]any{
		"path": "revocations/" + second, "operation": "update", "modified": "false", "token_id": second,
	}, newestEvent(m, "modal/revoke-manual", "user"))

	expiring := m.NewToken(modaltest.ExpiresAt(m.Clock.Now().Add(20 * mounttest.Day)))
	m.Write("config", expiring)
	m.Tick()
	require.Equal(t, map[string]any{
		"path": "config", "modified": "false", "token_id": mounttest.TextIn(expiring, "token_id"),
	}, newestEvent(m, "modal/expiry-warning", "user"))

	m.Remove("config", nil)
	require.Equal(t, "delete", newestEvent(m, "modal/config-write", "user")["operation"])
}

func TestEvents_OfALeaseNameItsRevocation(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
	id := mounttest.TextIn(m.Read("creds/job"), "token_id")
	key := m.List("revocations")[0]
	want := map[string]any{"path": "revocations/" + key, "operation": "update", "modified": "false", "role": "job", "token_id": id, "proof": "deleted"}

	m.Modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.PermissionDenied})
	m.Write("revocations/"+key, withForce)
	failed := newestEvent(m, "modal/revoke-fail", "service_user")
	m.Write("revocations/"+key, withForce)

	require.Equal(t, want, newestEvent(m, "modal/revoke", "service_user"))
	require.Equal(t, want["path"], failed["path"])
}

func TestEvents_OutOfSyncComesOnceForEachTimeItBegins(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	for times := 1; times <= 2; times++ {
		orphan := m.Workspace.AddServiceUser(fmt.Sprintf("vault-2f9f1a7c-lost-abcdefg%d", times))
		m.Clock.Advance(time.Hour)
		for range 3 { // each start compares storage with Modal again
			m.Restart()
			m.Tick()
			m.List("orphans")
		}
		events := m.EventsOf("modal/out-of-sync")
		require.Len(t, events, times)
		require.Equal(t, map[string]any{"path": "orphans", "modified": "false"}, events[times-1])
		m.Write("orphans", map[string]any{"dry_run": false})
		require.False(t, m.Knows(orphan.ID))
	}
}

// brokenBus is an event bus that takes no event.
type brokenBus struct {
	mu    sync.Mutex
	tried []logical.EventType
}

func (b *brokenBus) SendEvent(_ context.Context, kind logical.EventType, _ *logical.EventData) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tried = append(b.tried, kind)
	return errors.New("the event bus is full")
}

func TestEvents_AFailedDeliveryFailsNoOperation(t *testing.T) {
	t.Parallel()
	bus := &brokenBus{}
	for name, sender := range map[string]logical.EventSender{"full": bus, "none, as in OpenBao": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			var lines bytes.Buffer
			b, err := modalsecrets.New(t.Context(), &logical.BackendConfig{
				Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Debug, Output: &lines}),
				System: m.System, StorageView: m.Storage, EventsSender: sender, BackendUUID: "2f9f1a7c-0000-4000-8000-000000000001",
			}, state.Deps{Now: m.Clock.Now, Wait: m.Clock.Sleep, Connect: mounttest.ConnectWithoutJitter})
			require.NoError(t, err)
			t.Cleanup(func() { b.Cleanup(context.WithoutCancel(t.Context())) })
			m.Backend = b

			m.Write("config", m.NewToken())
			first := m.AddManaged("ci")
			m.Write("rotate/ci", map[string]any{"grace_period": 0})
			m.Minutes(2)
			require.False(t, m.Knows(first))
			m.Modal.DeleteToken(m.TokenID("ci"))
			require.Equal(t, false, m.Write("verify/ci", nil).Data["accepted"])
			m.Minutes(2)
			require.NotEmpty(t, m.ServiceUser(m.TokenID("ci")).Name)
			m.Remove("roles/ci", withForce)
			require.Empty(t, m.Modal.ServiceUsers())
			m.Remove("config", nil)
			for line := range strings.Lines(lines.String()) {
				require.Contains(t, line, " mount=modal/ ")
			}
			require.Contains(t, lines.String(), "event not delivered")
			if sender != nil {
				for _, kind := range []logical.EventType{"modal/config-write", "modal/role-write", "modal/rotate", "modal/revoke", "modal/token-rejected", "modal/role-delete"} {
					require.Contains(t, bus.tried, kind)
				}
			}
		})
	}
}
