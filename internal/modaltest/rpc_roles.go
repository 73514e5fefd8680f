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
// (Python client 1.6.4, _environments.py). Each has the custom roles that the principal can get.
//
// Assumed: every caller that sees the environment may ask, and for other callers it is NOT_FOUND. Everybody can get every
// custom role.
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
		if m.left.IsZero() {
			p := pb.EnvironmentGetRolesResponse_Principal_builder{UserId: m.id, UserName: m.username, MemberRole: memberRoles[m.role]}.Build()
			principals = append(principals, (&token{workspace: workspace, member: m}).principal(p, env))
		}
	}
	for _, u := range c.server.serviceUsers() {
		if u.token.workspace == workspace {
			p := pb.EnvironmentGetRolesResponse_Principal_builder{ServiceUserId: u.id, ServiceUserName: u.name}.Build()
			principals = append(principals, u.token.principal(p, env))
		}
	}
	return pb.EnvironmentGetRolesResponse_builder{
		Name: env.name, CreatedAt: epoch(env.created), PrincipalRoles: principals,
	}.Build(), nil
}

// principal adds the role of the token's owner in an environment to p, and returns p.
func (t *token) principal(p *pb.EnvironmentGetRolesResponse_Principal, env environment) *pb.EnvironmentGetRolesResponse_Principal {
	g, isAssigned := t.effective(env)
	p.SetRole(g.role)
	p.SetRoleStr(g.word())
	p.SetHasRoleAssignment(isAssigned)
	if g.custom != nil {
		g.custom.append(p, fieldDefinition)
	}
	for _, role := range t.workspace.customRoles {
		role.append(p, fieldChoosable)
	}
	return p
}
