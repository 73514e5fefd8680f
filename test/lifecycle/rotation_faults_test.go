// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// unanswered returns a fault that suppresses the answer to a call. committed says whether Modal executed the call.
func unanswered(committed bool, times int) modaltest.Fault {
	return modaltest.Fault{Code: codes.Unavailable, Message: "no answer", AfterCommit: committed, Times: times}
}

// fault is a failure of Modal during a rotation, with the expected result.
type fault struct {
	rpc   string
	fault func(m *mounttest.Mount) modaltest.Fault
	// says is a part of the error. If says is empty, the rotation succeeds despite the fault.
	says string
}

// mangle returns a fault that changes an answer of Modal.
func mangle[T proto.Message](change func(answer T)) func(*mounttest.Mount) modaltest.Fault {
	return func(*mounttest.Mount) modaltest.Fault {
		return modaltest.Fault{Mangle: func(answer proto.Message) {
			if typed, ok := answer.(T); ok {
				change(typed)
			}
		}}
	}
}

func times(f modaltest.Fault) func(*mounttest.Mount) modaltest.Fault {
	return func(*mounttest.Mount) modaltest.Fault { return f }
}

// ofNewToken returns a fault that affects only calls with the new token.
func ofNewToken(change func(answer *pb.TokenInfoGetResponse)) func(*mounttest.Mount) modaltest.Fault {
	return func(m *mounttest.Mount) modaltest.Fault {
		old := m.TokenID("ci")
		f := mangle(change)(m)
		f.Match = func(call modaltest.Call) bool { return call.TokenID != old }
		return f
	}
}

func rotationFaults() map[string]fault {
	deny := modaltest.Fault{Code: codes.PermissionDenied, Message: "only owners and managers", Times: -1}
	reject := modaltest.Fault{Code: codes.Unauthenticated, Message: "Token not found", Times: -1}
	throttle := modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: 120 * time.Millisecond}
	return map[string]fault{
		"create: no answer, not done": {"ServiceUserCreate", times(unanswered(false, -1)), "no answer"},
		"create: answer lost":         {"ServiceUserCreate", times(unanswered(true, -1)), "no answer"},
		"create: name taken once":     {"ServiceUserCreate", times(modaltest.Fault{Code: codes.AlreadyExists}), ""},
		"create: two names taken":     {"ServiceUserCreate", times(modaltest.Fault{Code: codes.AlreadyExists, Times: 2}), ""},
		"create: every name taken":    {"ServiceUserCreate", times(modaltest.Fault{Code: codes.AlreadyExists, Times: -1}), "already has a service user of that name"},
		"create: admin rejected":      {"ServiceUserCreate", times(reject), `rejected the admin token`},
		"create: not a manager":       {"ServiceUserCreate", times(deny), `of user "alice"`},
		"create: plan":                {"ServiceUserCreate", times(modaltest.Fault{Code: codes.Unimplemented, Times: -1}), "Team and Enterprise plans"},
		"create: throttled":           {"ServiceUserCreate", times(throttle), ""},
		"create: throttled for long":  {"ServiceUserCreate", times(modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: time.Hour, Times: -1}), "asks to wait 1h"},
		"create: empty secret":        {"ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) { a.SetTokenSecret("") }), "token_secret is missing"},
		"create: wrong prefix":        {"ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) { a.SetTokenId("wk-AAAAAAAAAAAAAAAAAAAAAA") }), "proxy token"},
		"create: expired already": {"ServiceUserCreate", mangle(func(a *pb.ServiceUserCreateResponse) {
			a.SetExpiresAt(timestamppb.New(mounttest.StartTime.Add(-mounttest.Day)))
		}), "expired at"},
		"role set: no answer once":   {"EnvironmentRoleSet", times(unanswered(false, 1)), ""},
		"role set: answer lost once": {"EnvironmentRoleSet", times(unanswered(true, 1)), ""},
		"role set: no answer":        {"EnvironmentRoleSet", times(unanswered(false, -1)), "no answer"},
		"role set: admin rejected":   {"EnvironmentRoleSet", times(reject), "rejected the admin token"},
		"role set: not a manager":    {"EnvironmentRoleSet", times(deny), "may not manage"},
		"role set: throttled":        {"EnvironmentRoleSet", times(throttle), ""},
		"role set: unsupported":      {"EnvironmentRoleSet", times(modaltest.Fault{Code: codes.Unimplemented, Times: -1}), "plans"},
		"role set: no environment":   {"EnvironmentRoleSet", times(modaltest.Fault{Code: codes.NotFound, Times: -1}), "the role in environment main was not set"},
		"verify: no answer once":     {"TokenInfoGet", times(unanswered(false, 1)), ""},
		"verify: answer lost once":   {"TokenInfoGet", times(unanswered(true, 1)), ""},
		"verify: throttled":          {"TokenInfoGet", times(throttle), ""},
		"verify: wrong workspace":    {"TokenInfoGet", ofNewToken(func(a *pb.TokenInfoGetResponse) { a.SetWorkspaceId("ac-other") }), "another workspace"},
		"verify: wrong service user": {"TokenInfoGet", ofNewToken(func(a *pb.TokenInfoGetResponse) { a.GetServiceUserIdentity().SetServiceUserId("sv-other") }), "another service user"},
		"verify: wrong identity type": {"TokenInfoGet", ofNewToken(func(a *pb.TokenInfoGetResponse) {
			user := a.GetServiceUserIdentity()
			a.SetUserIdentity(pb.UserIdentity_builder{UserId: user.GetServiceUserId(), Username: user.GetServiceUserName()}.Build())
		}), "another identity type"},
		"verify: another name":  {"TokenInfoGet", ofNewToken(func(a *pb.TokenInfoGetResponse) { a.GetServiceUserIdentity().SetServiceUserName("vault-x") }), "another service user name"},
		"verify: another token": {"TokenInfoGet", forever(ofNewToken(func(a *pb.TokenInfoGetResponse) { a.SetTokenId("ak-BBBBBBBBBBBBBBBBBBBBBB") })), "it describes another token"},
		"verify: a role too many": {"ServiceUserInfo", forever(mangle(func(a *pb.ServiceUserInfoResponse) {
			user := a.GetServiceUser()
			more := proto.CloneOf(user.GetEnvironmentRoles()[0])
			more.SetEnvironmentName("staging")
			user.SetEnvironmentRoles(append(user.GetEnvironmentRoles(), more))
		})), "another set of environment roles"},
		"verify: missing role":         {"ServiceUserInfo", forever(mangle(func(a *pb.ServiceUserInfoResponse) { a.GetServiceUser().SetEnvironmentRoles(nil) })), "another set of environment roles"},
		"verify: roles unknown":        {"ServiceUserInfo", times(modaltest.Fault{Code: codes.Unimplemented}), ""},
		"verify: roles come late":      {"ServiceUserInfo", mangle(func(a *pb.ServiceUserInfoResponse) { a.GetServiceUser().SetEnvironmentRoles(nil) }), ""},
		"verify: not scoped after all": {"ServiceUserInfo", forever(mangle(func(a *pb.ServiceUserInfoResponse) { a.GetServiceUser().SetScoped(false) })), "another scoped"},
	}
}

func forever(once func(*mounttest.Mount) modaltest.Fault) func(*mounttest.Mount) modaltest.Fault {
	return func(m *mounttest.Mount) modaltest.Fault {
		f := once(m)
		f.Times = -1
		return f
	}
}
