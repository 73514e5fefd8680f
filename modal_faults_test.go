// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin/pb"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestRotate_FaultsAreReportedAndLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	for name, f := range rotationFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			old := m.addManaged("ci")
			m.modal.Inject(f.rpc, f.fault(m))

			resp, err := m.handle(logical.UpdateOperation, "rotate/ci", nil)

			m.modal.ClearFaults()
			if f.says == "" {
				require.NoError(t, err, errorText(resp))
				require.NotEqual(t, old, m.tokenID("ci"))
			} else {
				require.Error(t, err)
				require.Contains(t, err.Error()+errorText(resp), f.says)
				require.Contains(t, err.Error()+errorText(resp), "the current token (version 1) stays")
				require.Equal(t, old, m.tokenID("ci"))
			}
			require.Empty(t, m.modal.Orphans(m.trackedServiceUsers()))
			m.minutes(21)
			require.Len(t, m.modal.ServiceUsers(), 1+len(m.list("revocations")), "the worker deleted the unfinished service user")
			require.LessOrEqual(t, len(m.list("revocations")), 1)
		})
	}
}

func TestRoles_FailedCreateLeavesNeitherRoleNorServiceUser(t *testing.T) {
	t.Parallel()
	for name, f := range rotationFaults() {
		if f.says == "" || strings.HasPrefix(name, "verify: wrong") || strings.HasPrefix(name, "verify: another") {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			m.modal.Inject(f.rpc, f.fault(m))
			resp, err := m.handle(logical.UpdateOperation, "roles/ci", map[string]any{"type": "managed", "environment_roles": "main=contributor"})
			m.modal.ClearFaults()
			require.Error(t, err)
			require.Contains(t, err.Error()+errorText(resp), f.says)
			require.Contains(t, err.Error()+errorText(resp), "the role was not stored")
			require.Empty(t, m.list("roles"))
			require.Empty(t, m.modal.Orphans(m.trackedServiceUsers()))
			m.minutes(21)
			require.Empty(t, m.modal.ServiceUsers())
			require.Empty(t, m.list("revocations"))
		})
	}
}

func TestRotate_TokenAcceptedAfterTwentySecondsBecomesCurrent(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.modal.RefuseNewTokensFor(20 * time.Second)
	m.write("rotate/ci", nil)
	require.NotEqual(t, old, m.tokenID("ci"))
}

func TestRotate_TokenNeverAcceptedDoesNotBecomeCurrent(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.modal.RefuseNewTokensFor(time.Hour)
	_, text := m.failedAndStored("rotate/ci", nil)
	require.Contains(t, text, "Modal does not accept the new token")
	require.Equal(t, old, m.tokenID("ci"))
	m.modal.ClearFaults()
	m.tick()
	require.Len(t, m.modal.ServiceUsers(), 1)
}

func TestRevocation_FaultsKeepTheTokenQueuedUntilModalRejectsIt(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]struct {
		fault modaltest.Fault
		says  string
	}{
		"no answer":      {unanswered(false, -1), "no answer"},
		"admin rejected": {modaltest.Fault{Code: codes.Unauthenticated, Times: -1}, "rejected the admin token"},
		"not a manager":  {modaltest.Fault{Code: codes.PermissionDenied, Times: -1}, "may not manage service users"},
		"plan":           {modaltest.Fault{Code: codes.Unimplemented, Times: -1}, "plans"},
		"throttled":      {modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: time.Hour, Times: -1}, "asks to wait 1h"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			old := m.addManaged("ci")
			m.write("rotate/ci", map[string]any{"grace_period": 0})
			m.modal.Inject("ServiceUserDelete", f.fault)
			m.tick()
			entry := m.read("revocations/" + old)
			require.Contains(t, entry["last_error"], f.says)
			require.Equal(t, "retrying", entry["state"])
			require.Contains(t, m.eventTypes(), "modal/revoke-fail")
			require.NotContains(t, m.eventTypes(), "modal/revoke")
			m.modal.ClearFaults()
			m.minutes(3)
			require.Empty(t, m.list("revocations"))
			require.Contains(t, m.eventTypes(), "modal/revoke")
		})
	}
}

func TestRevocation_CompletesAfterALostAnswer(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.write("rotate/ci", map[string]any{"grace_period": 0})
	m.modal.Inject("ServiceUserDelete", unanswered(true, 1))
	m.tick()
	require.Empty(t, m.list("revocations"))
	require.Len(t, m.modal.ServiceUsers(), 1)
}

func TestRevocation_AcknowledgedButStillAcceptedIsUnconfirmed(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", map[string]any{"grace_period": 0})
	m.modal.KeepDeletedFor(10 * time.Minute)

	m.tick()

	entry := m.read("revocations/" + old)
	require.Equal(t, "unconfirmed", entry["state"])
	require.Contains(t, entry["last_error"], "acknowledged the deletion and still accepts")
	require.Contains(t, m.eventTypes(), "modal/revoke-fail")
	m.minutes(30)
	require.Empty(t, m.list("revocations"))
}

func TestOutage_ReadsContinueAndOneRotationFollows(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h", "refresh_interval": "30s"})
	m.minutes(50)
	m.modal.SetOutage(true)
	for range 70 {
		m.minutes(1)
		require.Equal(t, old, m.tokenID("ci"))
	}
	state := m.read("rotate/ci")
	require.Equal(t, "failing", state["state"])
	require.Contains(t, state["last_error"], "the control plane is down")
	require.Greater(t, state["attempts"], int64(2))
	require.Less(t, state["attempts"], int64(12), "the wait between attempts grows")
	require.NotEmpty(t, state["next_attempt"])
	m.modal.SetOutage(false)
	for m.tokenID("ci") == old {
		require.Less(t, m.clock.now(), start.Add(10*time.Hour))
		m.minutes(1)
	}
	require.Equal(t, int64(2), m.read("creds/ci")["version"])
	require.NotContains(t, m.read("rotate/ci"), "last_error")
	m.minutes(15)
	require.Equal(t, int64(2), m.read("creds/ci")["version"], "one rotation, not one for each missed time")
}

func TestCanceledCall_LeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	for _, rpc := range []string{"ServiceUserCreate", "EnvironmentRoleSet", "TokenInfoGet", "ServiceUserInfo"} {
		for _, path := range []string{"rotate/ci", "roles/new"} {
			t.Run(rpc+" of "+path, func(t *testing.T) {
				t.Parallel()
				m := newManagedMount(t)
				old := m.addManaged("ci")
				ctx, cancel := context.WithCancel(t.Context())
				m.modal.OnCall(func(method string) {
					if method == rpc {
						cancel()
					}
				})
				_, err := m.HandleRequest(ctx, &logical.Request{Operation: logical.UpdateOperation, Path: path, Storage: m.storage, Data: bodyOf(path)})
				m.modal.OnCall(nil)
				require.Empty(t, m.modal.Orphans(m.trackedServiceUsers()))
				if err == nil { // the last answer arrived before the cancellation, so the call succeeded
					require.Len(t, m.modal.ServiceUsers(), 2)
					return
				}
				require.Equal(t, old, m.tokenID("ci"))
				require.Equal(t, []string{"ci"}, m.list("roles"))
				m.minutes(21)
				require.Empty(t, m.list("revocations"))
				require.Len(t, m.modal.ServiceUsers(), 1)
			})
		}
	}
}

// bodyOf returns the body of a write to a path.
func bodyOf(path string) map[string]any {
	if path == "rotate/ci" {
		return nil
	}
	return managedRole
}

func TestManaged_FailureAtModalIsA502(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.modal.SetOutage(true)
	resp, err := m.HandleRequest(t.Context(), &logical.Request{Operation: logical.UpdateOperation, Path: "rotate/ci", Storage: m.storage, MountPoint: "modal/"})
	// Pass the error through the plugin protocol, as Vault does.
	status, shown := logical.RespondErrorCommon(&logical.Request{}, resp, pb.ProtoErrToErr(pb.ErrToProtoErr(err)))
	logical.AdjustErrorStatusCode(&status, shown)
	require.Equal(t, http.StatusBadGateway, status)
	require.True(t, strings.HasPrefix(shown.Error(), "create service user vault-"), "%v", shown)
	m.modal.SetOutage(false)
	m.minutes(21)
	require.Empty(t, m.list("revocations"))
}
