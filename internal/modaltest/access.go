// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Role is what a member may do in the workspace.
type Role string

// The roles of members; the first member is the owner, later ones are users.
const (
	RoleUser    Role = "user"
	RoleManager Role = "manager"
	RoleOwner   Role = "owner"
)

// roles are a member's or service user's assignments, by environment ID.
type roles map[string]pb.EnvironmentRole

// Short names of the roles that can be assigned.
const (
	viewer      = pb.EnvironmentRole_ENVIRONMENT_ROLE_VIEWER
	contributor = pb.EnvironmentRole_ENVIRONMENT_ROLE_CONTRIBUTOR
	noAccess    = pb.EnvironmentRole_ENVIRONMENT_ROLE_NO_ACCESS
)

// roleWords is how people write roles (Python client, cli/environment.py).
var roleWords = map[pb.EnvironmentRole]string{viewer: "viewer", contributor: "contributor", noAccess: "no-access"}

func (r roles) messages(environments []environment) []*pb.ServiceUser_EnvironmentRoleEntry {
	var entries []*pb.ServiceUser_EnvironmentRoleEntry
	for _, env := range environments {
		if role, assigned := r[env.id]; assigned {
			entries = append(entries, pb.ServiceUser_EnvironmentRoleEntry_builder{
				EnvironmentId: env.id, EnvironmentName: env.name, Role: role, RoleStr: roleWords[role],
			}.Build())
		}
	}
	return entries
}

// assign gives the role in an environment, or drops the assignment when it is unspecified.
func (r roles) assign(env environment, role pb.EnvironmentRole) {
	if role == pb.EnvironmentRole_ENVIRONMENT_ROLE_UNSPECIFIED {
		delete(r, env.id)
		return
	}
	r[env.id] = role
}

// SetRole changes what the member may do in the workspace. It panics when there
// is no such role.
func (m *Member) SetRole(role Role) {
	if _, known := memberRoles[role]; !known {
		panic("modaltest: set a member's role: there is no role " + string(role))
	}
	m.workspace.server.mu.Lock()
	defer m.workspace.server.mu.Unlock()
	m.role = role
}

// mayManage says whether the token may manage service users and environment
// roles: only an owner's or manager's may, never a service user's, and only on a
// plan that has them (Modal's guide/service-users). The caller holds the server's
// lock.
//
// Assumed: codes, texts, and that permission is looked at before the plan. Modal
// names the plans (guide/service-users), for roles too.
func (t *token) mayManage() error {
	if t.member == nil || t.member.role == RoleUser {
		return status.Error(codes.PermissionDenied, "Only workspace owners and managers can manage service users")
	}
	if t.workspace.planLacksServiceUsers {
		return status.Error(codes.FailedPrecondition, "service users are not available on this workspace's plan")
	}
	return nil
}

// sees says whether the token's owner has access to the environment. The caller
// holds the server's lock.
//
// Assumed: without a role, members and service users made without a scope see
// every environment, as before access was granted per environment.
func (t *token) sees(env environment) bool {
	var role pb.EnvironmentRole
	if t.serviceUser != nil {
		role = t.serviceUser.roles[env.id]
	} else if t.member.role == RoleUser {
		role = t.member.roles[env.id]
	}
	if role == pb.EnvironmentRole_ENVIRONMENT_ROLE_UNSPECIFIED {
		return !t.scoped()
	}
	return role != noAccess
}

// writes says whether the token's owner may change things in an environment that it sees.
func (t *token) writes(env environment) bool {
	if t.serviceUser != nil {
		return t.serviceUser.roles[env.id] != viewer
	}
	return t.member.role != RoleUser || t.member.roles[env.id] != viewer
}

func (t *token) scoped() bool { return t.serviceUser != nil && t.serviceUser.scoped }
