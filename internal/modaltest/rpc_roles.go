// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"slices"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// EnvironmentGetRoles returns the role of every member and service user in an environment, assigned or not
// (Python client 1.6.4, _environments.py).
//
// Assumed: every caller that sees the environment may ask, and for other callers it is NOT_FOUND. A principal
// that sees the environment without an assignment is a contributor.
func (c *controlPlane) EnvironmentGetRoles(ctx context.Context, req *pb.EnvironmentGetRolesRequest) (*pb.EnvironmentGetRolesResponse, error) {
	caller := callerOf(ctx)
	workspace := caller.workspace
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	i := slices.IndexFunc(workspace.environments, func(e environment) bool { return e.id == req.GetEnvironmentId() })
	if i < 0 || !caller.sees(workspace.environments[i]) {
		return nil, status.Errorf(codes.NotFound, "Environment '%s' not found", req.GetEnvironmentId())
	}
	env := workspace.environments[i]
	var principals []*pb.EnvironmentGetRolesResponse_Principal
	for _, m := range workspace.members {
		p := principal(&token{workspace: workspace, member: m}, m.roles, env)
		p.UserId, p.UserName, p.MemberRole = m.id, m.username, memberRoles[m.role]
		principals = append(principals, p.Build())
	}
	for _, u := range c.server.serviceUsers() {
		if u.token.workspace == workspace {
			p := principal(u.token, u.roles, env)
			p.ServiceUserId, p.ServiceUserName = u.id, u.name
			principals = append(principals, p.Build())
		}
	}
	return pb.EnvironmentGetRolesResponse_builder{
		Name: env.name, CreatedAt: epoch(env.created), PrincipalRoles: principals,
	}.Build(), nil
}

// principal returns the role of a token's owner in an environment. The caller adds the owner's name.
func principal(t *token, assigned roles, env environment) pb.EnvironmentGetRolesResponse_Principal_builder {
	role, isAssigned := assigned[env.id]
	switch {
	case !t.sees(env):
		role = noAccess
	case !isAssigned || role == noAccess: // no-access does not restrict owners and managers
		role = contributor
	}
	return pb.EnvironmentGetRolesResponse_Principal_builder{
		Role: role, RoleStr: roleWords[role], HasRoleAssignment: &isAssigned,
	}
}
