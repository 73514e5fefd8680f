// SPDX-License-Identifier: MPL-2.0

package lifecycle

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
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestRotate_FaultsAreReportedAndLeaveNothingBehind(t *testing.T) {
	t.Parallel()
	for name, f := range rotationFaults() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			old := m.AddManaged("ci")
			m.Modal.Inject(f.rpc, f.fault(m))

			resp, err := m.Handle(logical.UpdateOperation, "rotate/ci", nil)

			m.Modal.ClearFaults()
			if f.says == "" {
				require.NoError(t, err, mounttest.ErrorText(resp))
				require.NotEqual(t, old, m.TokenID("ci"))
			} else {
				require.Error(t, err)
				require.Contains(t, err.Error()+mounttest.ErrorText(resp), f.says)
				require.Contains(t, err.Error()+mounttest.ErrorText(resp), "the current token (version 1) stays")
				require.Equal(t, old, m.TokenID("ci"))
			}
			require.Empty(t, m.Modal.Orphans(m.TrackedServiceUsers()))
			m.Minutes(21)
			require.Len(t, m.Modal.ServiceUsers(), 1+len(m.List("revocations")), "the worker deleted the unfinished service user")
			require.LessOrEqual(t, len(m.List("revocations")), 1)
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
			m := mounttest.NewManaged(t)
			m.Modal.Inject(f.rpc, f.fault(m))
			resp, err := m.Handle(logical.UpdateOperation, "roles/ci", map[string]any{"type": "managed", "environment_roles": "main=contributor"})
			m.Modal.ClearFaults()
			require.Error(t, err)
			require.Contains(t, err.Error()+mounttest.ErrorText(resp), f.says)
			require.Contains(t, err.Error()+mounttest.ErrorText(resp), "the role was not stored")
			require.Empty(t, m.List("roles"))
			require.Empty(t, m.Modal.Orphans(m.TrackedServiceUsers()))
			m.Minutes(21)
			require.Empty(t, m.Modal.ServiceUsers())
			require.Empty(t, m.List("revocations"))
		})
	}
}

func TestRotate_TokenAcceptedAfterTwentySecondsBecomesCurrent(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Modal.RefuseNewTokensFor(20 * time.Second)
	m.Write("rotate/ci", nil)
	require.NotEqual(t, old, m.TokenID("ci"))
}

func TestRotate_TokenNeverAcceptedDoesNotBecomeCurrent(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Modal.RefuseNewTokensFor(time.Hour)
	_, text := failedAndStored(m, "rotate/ci", nil)
	require.Contains(t, text, "Modal does not accept the new token")
	require.Equal(t, old, m.TokenID("ci"))
	m.Modal.ClearFaults()
	m.Tick()
	require.Len(t, m.Modal.ServiceUsers(), 1)
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
			m := mounttest.NewManaged(t)
			old := m.AddManaged("ci")
			m.Write("rotate/ci", map[string]any{"grace_period": 0})
			m.Modal.Inject("ServiceUserDelete", f.fault)
			m.Tick()
			entry := m.Read("revocations/" + old)
			require.Contains(t, entry["last_error"], f.says)
			require.Equal(t, "retrying", entry["state"])
			require.Contains(t, m.EventTypes(), "modal/revoke-fail")
			require.NotContains(t, m.EventTypes(), "modal/revoke")
			m.Modal.ClearFaults()
			m.Minutes(3)
			require.Empty(t, m.List("revocations"))
			require.Contains(t, m.EventTypes(), "modal/revoke")
		})
	}
}

func TestRevocation_CompletesAfterALostAnswer(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Write("rotate/ci", map[string]any{"grace_period": 0})
	m.Modal.Inject("ServiceUserDelete", unanswered(true, 1))
	m.Tick()
	require.Empty(t, m.List("revocations"))
	require.Len(t, m.Modal.ServiceUsers(), 1)
}

func TestRevocation_AcknowledgedButStillAcceptedIsUnconfirmed(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", map[string]any{"grace_period": 0})
	m.Modal.KeepDeletedFor(10 * time.Minute)

	m.Tick()

	entry := m.Read("revocations/" + old)
	require.Equal(t, "unconfirmed", entry["state"])
	require.Contains(t, entry["last_error"], "acknowledged the deletion and still accepts")
	require.Contains(t, m.EventTypes(), "modal/revoke-fail")
	require.Len(t, m.Modal.Calls("ServiceUserDelete"), 1)
	m.Minutes(30)
	require.Empty(t, m.List("revocations"))
	require.Greater(t, len(m.Modal.Calls("ServiceUserDelete")), 1, "Modal may have lost the deletion that it acknowledged")
}

func TestOutage_ReadsContinueAndOneRotationFollows(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "10h", "refresh_interval": "30s"})
	m.Minutes(50)
	m.Modal.SetOutage(true)
	for range 70 {
		m.Minutes(1)
		require.Equal(t, old, m.TokenID("ci"))
	}
	state := m.Read("rotate/ci")
	require.Equal(t, "failing", state["state"])
	require.Contains(t, state["last_error"], "the control plane is down")
	require.Greater(t, state["attempts"], int64(2))
	require.Less(t, state["attempts"], int64(12), "the wait between attempts grows")
	require.NotEmpty(t, state["next_attempt"])
	m.Modal.SetOutage(false)
	for m.TokenID("ci") == old {
		require.Less(t, m.Clock.Now(), mounttest.StartTime.Add(10*time.Hour))
		m.Minutes(1)
	}
	require.Equal(t, int64(2), m.Read("creds/ci")["version"])
	require.NotContains(t, m.Read("rotate/ci"), "last_error")
	m.Minutes(15)
	require.Equal(t, int64(2), m.Read("creds/ci")["version"], "one rotation, not one for each missed time")
}

func TestCanceledCall_LeavesNothingHalfDone(t *testing.T) {
	t.Parallel()
	for _, rpc := range []string{"ServiceUserCreate", "EnvironmentRoleSet", "TokenInfoGet", "ServiceUserInfo"} {
		for _, path := range []string{"rotate/ci", "roles/new"} {
			t.Run(rpc+" of "+path, func(t *testing.T) {
				t.Parallel()
				m := mounttest.NewManaged(t)
				old := m.AddManaged("ci")
				ctx, cancel := context.WithCancel(t.Context())
				m.Modal.OnCall(func(method string) {
					if method == rpc {
						cancel()
					}
				})
				_, err := m.HandleRequest(ctx, &logical.Request{Operation: logical.UpdateOperation, Path: path, Storage: m.Storage, Data: bodyOf(path)})
				m.Modal.OnCall(nil)
				require.Empty(t, m.Modal.Orphans(m.TrackedServiceUsers()))
				if err == nil { // the last answer arrived before the cancellation, so the call succeeded
					require.Len(t, m.Modal.ServiceUsers(), 2)
					return
				}
				require.Equal(t, old, m.TokenID("ci"))
				require.Equal(t, []string{"ci"}, m.List("roles"))
				m.Minutes(21)
				require.Empty(t, m.List("revocations"))
				require.Len(t, m.Modal.ServiceUsers(), 1)
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
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Modal.SetOutage(true)
	resp, err := m.HandleRequest(t.Context(), &logical.Request{Operation: logical.UpdateOperation, Path: "rotate/ci", Storage: m.Storage, MountPoint: "modal/"})
	// Pass the error through the plugin protocol, as Vault does.
	status, shown := logical.RespondErrorCommon(&logical.Request{}, resp, pb.ProtoErrToErr(pb.ErrToProtoErr(err)))
	logical.AdjustErrorStatusCode(&status, shown)
	require.Equal(t, http.StatusBadGateway, status)
	require.True(t, strings.HasPrefix(shown.Error(), "create service user vault-"), "%v", shown)
	m.Modal.SetOutage(false)
	m.Minutes(21)
	require.Empty(t, m.List("revocations"))
}

func TestRotate_TriesThreeNamesAndNotMore(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	creates := len(m.Modal.Calls("ServiceUserCreate"))
	m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.AlreadyExists, Times: -1})

	require.Error(t, m.Try(logical.UpdateOperation, "rotate/ci", nil))

	require.Len(t, m.Modal.Calls("ServiceUserCreate"), creates+3)
	require.Equal(t, old, m.TokenID("ci"))
	require.Empty(t, m.List("revocations"), "Modal created nothing, and the service users of these names belong to others")
}
