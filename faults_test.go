// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// unanswered is a call whose answer never comes, done by Modal or not.
func unanswered(committed bool, times int) modaltest.Fault {
	return modaltest.Fault{Code: codes.Unavailable, Message: "no answer", AfterCommit: committed, Times: times}
}

// fault is trouble at Modal in the middle of a rotation, and what comes of it.
type fault struct {
	rpc   string
	fault func(m *mount) modaltest.Fault
	// says is what the operator is told; empty when the rotation succeeds all the same.
	says string
}

// mangle is an answer of Modal's that is not what it should be.
func mangle[T proto.Message](change func(answer T)) func(*mount) modaltest.Fault {
	return func(*mount) modaltest.Fault {
		return modaltest.Fault{Mangle: func(answer proto.Message) {
			if typed, ok := answer.(T); ok {
				change(typed)
			}
		}}
	}
}

func times(f modaltest.Fault) func(*mount) modaltest.Fault {
	return func(*mount) modaltest.Fault { return f }
}

// ofNewToken is a fault of the calls that the new token makes.
func ofNewToken(change func(answer *pb.TokenInfoGetResponse)) func(*mount) modaltest.Fault {
	return func(m *mount) modaltest.Fault {
		old := m.tokenID("ci")
		f := mangle(change)(m)
		f.Match = func(call modaltest.Call) bool { return call.TokenID != old }
		return f
	}
}

func rotationFaults() map[string]fault {
	deny := modaltest.Fault{Code: codes.PermissionDenied, Message: "only owners and managers", Times: -1}
	refuse := modaltest.Fault{Code: codes.Unauthenticated, Message: "Token not found", Times: -1}
	throttle := modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: 120 * time.Millisecond}
	return map[string]fault{
		"create: no answer, not done":  {"ServiceUserCreate", times(unanswered(false, -1)), "no answer"},
		"create: answer lost":          {"ServiceUserCreate", times(unanswered(true, -1)), "no answer"},
		"create: name taken once":      {"ServiceUserCreate", times(modaltest.Fault{Code: codes.AlreadyExists}), ""},
		"create: every name taken":     {"ServiceUserCreate", times(modaltest.Fault{Code: codes.AlreadyExists, Times: -1}), "name already"},
		"create: admin refused":        {"ServiceUserCreate", times(refuse), `refused the admin token`},
		"create: not a manager":        {"ServiceUserCreate", times(deny), `of user "alice"`},
		"create: plan":                 {"ServiceUserCreate", times(modaltest.Fault{Code: codes.Unimplemented, Times: -1}), "Team and Enterprise plans"},
		"create: throttled":            {"ServiceUserCreate", times(throttle), ""},
		"create: throttled for long":   {"ServiceUserCreate", times(modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: time.Hour, Times: -1}), "asks to wait 1h"},
		"create: empty secret":         {"ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) { a.SetTokenSecret("") }), "token_secret is missing"},
		"create: wrong prefix":         {"ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) { a.SetTokenId("wk-AAAAAAAAAAAAAAAAAAAAAA") }), "proxy token"},
		"create: expired already":      {"ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) { a.SetExpiresAt(timestamppb.New(start.Add(-day))) }), "expired at"},
		"role set: no answer once":     {"EnvironmentRoleSet", times(unanswered(false, 1)), ""},
		"role set: answer lost once":   {"EnvironmentRoleSet", times(unanswered(true, 1)), ""},
		"role set: no answer":          {"EnvironmentRoleSet", times(unanswered(false, -1)), "no answer"},
		"role set: admin refused":      {"EnvironmentRoleSet", times(refuse), "refused the admin token"},
		"role set: not a manager":      {"EnvironmentRoleSet", times(deny), "may not manage"},
		"role set: throttled":          {"EnvironmentRoleSet", times(throttle), ""},
		"role set: unsupported":        {"EnvironmentRoleSet", times(modaltest.Fault{Code: codes.Unimplemented, Times: -1}), "plans"},
		"role set: no such place":      {"EnvironmentRoleSet", times(modaltest.Fault{Code: codes.NotFound, Times: -1}), "no role could be given in environment main"},
		"verify: no answer once":       {"TokenInfoGet", times(unanswered(false, 1)), ""},
		"verify: answer lost once":     {"TokenInfoGet", times(unanswered(true, 1)), ""},
		"verify: throttled":            {"TokenInfoGet", times(throttle), ""},
		"verify: wrong workspace":      {"TokenInfoGet", ofNewToken(func(a *pb.TokenInfoGetResponse) { a.SetWorkspaceId("ac-other") }), "another workspace"},
		"verify: wrong service user":   {"TokenInfoGet", ofNewToken(func(a *pb.TokenInfoGetResponse) { a.GetServiceUserIdentity().SetServiceUserId("sv-other") }), "another service user"},
		"verify: another one's name":   {"TokenInfoGet", ofNewToken(func(a *pb.TokenInfoGetResponse) { a.GetServiceUserIdentity().SetServiceUserName("vault-x") }), "another service user name"},
		"verify: missing role":         {"ServiceUserInfo", forever(mangle(func(a *pb.ServiceUserInfoResponse) { a.GetServiceUser().SetEnvironmentRoles(nil) })), "another set of environment roles"},
		"verify: roles not told":       {"ServiceUserInfo", times(modaltest.Fault{Code: codes.Unimplemented}), ""},
		"verify: roles come late":      {"ServiceUserInfo", mangle(func(a *pb.ServiceUserInfoResponse) { a.GetServiceUser().SetEnvironmentRoles(nil) }), ""},
		"verify: not scoped after all": {"ServiceUserInfo", forever(mangle(func(a *pb.ServiceUserInfoResponse) { a.GetServiceUser().SetScoped(false) })), "another scoped"},
	}
}

func forever(once func(*mount) modaltest.Fault) func(*mount) modaltest.Fault {
	return func(m *mount) modaltest.Fault {
		f := once(m)
		f.Times = -1
		return f
	}
}

func TestRotationFaults_AreToldAndLeaveNothingBehind(t *testing.T) {
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
			require.Empty(t, m.modal.Orphans(m.answeredFor()))
			m.minutes(21)
			require.Len(t, m.modal.ServiceUsers(), 1+len(m.list("revocations")), "the candidate died through the ledger")
			require.LessOrEqual(t, len(m.list("revocations")), 1)
		})
	}
}

func TestCreateFaults_LeaveNeitherARoleNorAServiceUser(t *testing.T) {
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
			require.Empty(t, m.modal.Orphans(m.answeredFor()))
			m.minutes(21)
			require.Empty(t, m.modal.ServiceUsers())
			require.Empty(t, m.list("revocations"))
		})
	}
}

func TestRotation_ATokenAcceptedOnlyAfterTwentySecondsIsPromoted(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.modal.RefuseNewTokensFor(20 * time.Second)
	m.write("rotate/ci", nil)
	require.NotEqual(t, old, m.tokenID("ci"))
}

func TestRotation_ATokenNeverAcceptedIsNotPromoted(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.modal.RefuseNewTokensFor(time.Hour)
	_, err := m.handle(logical.UpdateOperation, "rotate/ci", nil)
	require.ErrorContains(t, err, "Modal does not accept the new token")
	require.Equal(t, old, m.tokenID("ci"))
	m.modal.ClearFaults()
	m.tick()
	require.Len(t, m.modal.ServiceUsers(), 1)
}

func TestRevocation_FaultsKeepTheTokenInTheLedgerUntilModalRefusesIt(t *testing.T) {
	t.Parallel()
	for name, f := range map[string]struct {
		fault modaltest.Fault
		says  string
	}{
		"no answer":     {unanswered(false, -1), "no answer"},
		"admin refused": {modaltest.Fault{Code: codes.Unauthenticated, Times: -1}, "refused the admin token"},
		"not a manager": {modaltest.Fault{Code: codes.PermissionDenied, Times: -1}, "may not manage service users"},
		"plan":          {modaltest.Fault{Code: codes.Unimplemented, Times: -1}, "plans"},
		"throttled":     {modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: time.Hour, Times: -1}, "asks to wait 1h"},
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

func TestRevocation_ALostAnswerIsDoneAllTheSame(t *testing.T) {
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

func TestOutage_OfAnHourIsServedThroughAndEndsInOneRotation(t *testing.T) {
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
	require.Less(t, state["attempts"], int64(12), "attempts back off")
	require.NotEmpty(t, state["next_attempt"])
	m.modal.SetOutage(false)
	for m.tokenID("ci") == old {
		require.Less(t, m.clock.now(), start.Add(10*time.Hour))
		m.minutes(1)
	}
	require.Equal(t, int64(2), m.read("creds/ci")["version"])
	require.NotContains(t, m.read("rotate/ci"), "last_error")
	m.minutes(15)
	require.Equal(t, int64(2), m.read("creds/ci")["version"], "one rotation, not one for each that was missed")
}

func TestCancelled_ACallersEndIsFollowedAtOnceAndLeavesNothingHalfDone(t *testing.T) {
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
				_, err := m.HandleRequest(ctx, &logical.Request{Operation: logical.UpdateOperation, Path: path, Storage: m.storage, Data: cancelled(path)})
				m.modal.OnCall(nil)
				require.Empty(t, m.modal.Orphans(m.answeredFor()))
				if err == nil { // the last answer was faster than the cancellation: it is finished
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

func cancelled(path string) map[string]any {
	if path == "rotate/ci" {
		return nil
	}
	return managedRole
}

func TestManaged_TroubleAtModalIsA502(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.modal.SetOutage(true)
	resp, err := m.handle(logical.UpdateOperation, "rotate/ci", nil)
	status, _ := logical.RespondErrorCommon(&logical.Request{}, resp, err)
	logical.AdjustErrorStatusCode(&status, err)
	require.Equal(t, http.StatusBadGateway, status)
	m.modal.SetOutage(false)
	m.minutes(21)
	require.Empty(t, m.list("revocations"))
}
