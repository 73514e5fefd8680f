// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Role names the rights of a member in the workspace.
type Role string

// These are the roles of members. The first member is the owner, and every later member is a user.
const (
	RoleUser    Role = "user"
	RoleManager Role = "manager"
	RoleOwner   Role = "owner"
)

// roles are the role assignments of a member or a service user, by environment ID.
type roles map[string]grant

// These are short names of the built-in roles that can be assigned.
const (
	viewer      = pb.EnvironmentRole_ENVIRONMENT_ROLE_VIEWER
	contributor = pb.EnvironmentRole_ENVIRONMENT_ROLE_CONTRIBUTOR
	noAccess    = pb.EnvironmentRole_ENVIRONMENT_ROLE_NO_ACCESS
)

// roleWords contains the texts for roles (Python client, cli/environment.py).
var roleWords = map[pb.EnvironmentRole]string{viewer: "viewer", contributor: "contributor", noAccess: "no-access"}

func (r roles) messages(environments []environment) []*pb.ServiceUser_EnvironmentRoleEntry {
	var entries []*pb.ServiceUser_EnvironmentRoleEntry
	for _, env := range environments {
		if g, assigned := r[env.id]; assigned {
			entry := pb.ServiceUser_EnvironmentRoleEntry_builder{
				EnvironmentId: env.id, EnvironmentName: env.name, Role: g.role, RoleStr: g.word(),
			}.Build()
			if g.custom != nil {
				g.custom.append(entry, fieldEntryDefinition)
			}
			entries = append(entries, entry)
		}
	}
	return entries
}

// assign sets the role in an environment. The zero grant removes the assignment.
func (r roles) assign(env environment, g grant) {
	if g == (grant{}) {
		delete(r, env.id)
		return
	}
	r[env.id] = g
}

// SetRole changes the member's rights in the workspace. It panics if the role does not exist.
func (m *Member) SetRole(role Role) {
	if _, known := memberRoles[role]; !known {
		panic("modaltest: set a member's role: there is no role " + string(role))
	}
	m.workspace.server.mu.Lock()
	defer m.workspace.server.mu.Unlock()
	m.role = role
}

// mayManage returns an error unless the token may manage service users and environment roles. An owner's or
// manager's token may, if the plan has service users; a service user's token never may (Modal's
// guide/service-users). The caller must lock the server.
//
// Assumed: the codes, the texts, and that Modal checks the permission before the plan. Modal names the plans
// that have service users and roles (guide/service-users).
func (t *token) mayManage() error {
	if t.member == nil || t.member.role == RoleUser {
		return status.Error(codes.PermissionDenied, "Only workspace owners and managers can manage service users")
	}
	if t.workspace.planLacksServiceUsers {
		return status.Error(codes.FailedPrecondition, "service users are not available on this workspace's plan")
	}
	return nil
}

// sees reports whether the token's owner has access to the environment. The caller must lock the server.
//
// Assumed: without a role, members and unscoped service users see every environment, as before access was
// granted per environment.
func (t *token) sees(env environment) bool {
	var role pb.EnvironmentRole
	if t.serviceUser != nil {
		role = t.serviceUser.roles[env.id].role
	} else if t.member.role == RoleUser {
		role = t.member.roles[env.id].role
	}
	if role == pb.EnvironmentRole_ENVIRONMENT_ROLE_UNSPECIFIED {
		return !t.scoped()
	}
	return role != noAccess
}

// writes reports whether the token's owner may change an environment that it sees.
func (t *token) writes(env environment) bool {
	if t.serviceUser != nil {
		return t.serviceUser.roles[env.id].role != viewer
	}
	return t.member.role != RoleUser || t.member.roles[env.id].role != viewer
}

// effective returns the role that the token's owner has in an environment, assigned or not. The caller must lock the
// server.
//
// Assumed: an owner that sees the environment without an assignment is a contributor. no-access does not restrict owners
// and managers.
func (t *token) effective(env environment) (g grant, isAssigned bool) {
	assigned := t.assigned()
	g, isAssigned = assigned[env.id]
	switch {
	case !t.sees(env):
		return grant{role: noAccess}, isAssigned
	case !isAssigned || g.role == noAccess:
		return grant{role: contributor}, isAssigned
	}
	return g, true
}

func (t *token) assigned() roles {
	if t.serviceUser != nil {
		return t.serviceUser.roles
	}
	return t.member.roles
}

func (t *token) scoped() bool { return t.serviceUser != nil && t.serviceUser.scoped }
