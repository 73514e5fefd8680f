// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"slices"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

var memberRoles = map[Role]pb.MemberRole{
	RoleUser:    pb.MemberRole_MEMBER_ROLE_USER,
	RoleManager: pb.MemberRole_MEMBER_ROLE_MANAGER,
	RoleOwner:   pb.MemberRole_MEMBER_ROLE_OWNER,
}

// WorkspaceMembersList lists the people of the workspace.
//
// Assumed: every token may ask, and service users are not listed. A member who left stays listed, with deleted_at.
func (c *controlPlane) WorkspaceMembersList(ctx context.Context, _ *emptypb.Empty) (*pb.WorkspaceMembersListResponse, error) {
	workspace := callerOf(ctx).workspace
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	items := make([]*pb.WorkspaceMembersListItem, len(workspace.members))
	for i, m := range workspace.members {
		items[i] = pb.WorkspaceMembersListItem_builder{
			MemberId:          m.memberID,
			MemberDisplayname: m.username,
			MemberRole:        memberRoles[m.role],
			JoinedAt:          epoch(m.joined),
			UserId:            m.id,
			DeletedAt:         epoch(m.left),
		}.Build()
	}
	return pb.WorkspaceMembersListResponse_builder{Members: items}.Build(), nil
}

// EnvironmentRoleSet assigns a role in one environment, or removes the assignment.
//
// Assumed: every environment accepts assignments, also for members.
func (c *controlPlane) EnvironmentRoleSet(ctx context.Context, req *pb.EnvironmentRoleSetRequest) (*emptypb.Empty, error) {
	caller := callerOf(ctx)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if err := caller.mayManage(); err != nil {
		return nil, err
	}
	g, err := caller.workspace.requestedRole(req)
	if err != nil {
		return nil, err
	}
	env, err := caller.workspace.requestedEnvironment(req)
	if err != nil {
		return nil, err
	}
	assign, err := caller.workspace.requestedPrincipal(req)
	if err != nil {
		return nil, err
	}
	assign(env, g)
	return &emptypb.Empty{}, nil
}

// requestedRole returns the role of a request. It reads role_str only if role is unspecified (comment in
// Modal's proto). A request without a role removes the assignment (Python client, _environments.py).
//
// Assumed: roles that people cannot assign are INVALID_ARGUMENT, and so is a custom role by its ID together with another
// role.
func (w *Workspace) requestedRole(req *pb.EnvironmentRoleSetRequest) (grant, error) {
	role, word, id := req.GetRole(), req.GetRoleStr(), definitionID(req)
	unspecified := role == pb.EnvironmentRole_ENVIRONMENT_ROLE_UNSPECIFIED
	switch {
	case id != "" && (!unspecified && role != custom || word != ""):
		return grant{}, status.Error(codes.InvalidArgument, "Give a role or a custom role's ID")
	case id != "":
		return w.customRole(id)
	case unspecified && word == "":
		return grant{}, nil
	case unspecified:
		return w.namedRole(word)
	}
	if _, assignable := roleWords[role]; !assignable {
		return grant{}, status.Errorf(codes.InvalidArgument, "Invalid environment role '%s'", role)
	}
	return grant{role: role}, nil
}

// requestedEnvironment finds the environment by its ID or its name.
//
// Assumed: a request with both, or with neither, is INVALID_ARGUMENT.
func (w *Workspace) requestedEnvironment(req *pb.EnvironmentRoleSetRequest) (environment, error) {
	id, name := req.GetEnvironmentId(), req.GetEnvironmentName()
	if (id == "") == (name == "") {
		return environment{}, status.Error(codes.InvalidArgument, "Give the environment's ID or its name")
	}
	i := slices.IndexFunc(w.environments, func(e environment) bool { return e.id == id || e.name == name })
	if i < 0 {
		return environment{}, status.Errorf(codes.NotFound, "Environment '%s' not found", id+name)
	}
	return w.environments[i], nil
}

// requestedPrincipal finds the user or service user of a request. It returns the function that changes its
// assignments.
//
// Assumed: an unknown principal is NOT_FOUND, and more than one principal is INVALID_ARGUMENT.
func (w *Workspace) requestedPrincipal(req *pb.EnvironmentRoleSetRequest) (assign func(environment, grant), err error) {
	userID := req.GetUserId()
	if userID == "" {
		user, err := w.serviceUser(req.GetServiceUserId(), req.GetServiceUserName())
		if err != nil {
			return nil, err
		}
		return user.assign, nil
	}
	if req.GetServiceUserId() != "" || req.GetServiceUserName() != "" {
		return nil, status.Error(codes.InvalidArgument, "Give one user or service user")
	}
	i := slices.IndexFunc(w.members, func(m *Member) bool { return m.id == userID && m.left.IsZero() })
	if i < 0 {
		return nil, status.Errorf(codes.NotFound, "User '%s' not found", userID)
	}
	return w.members[i].roles.assign, nil
}
