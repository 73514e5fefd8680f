// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"errors"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// ServiceUserCreate creates a service user and shows the secret of its only token, this once (Modal's
// guide/service-users).
//
// Assumed: the codes, and that any expiry is allowed.
func (c *controlPlane) ServiceUserCreate(ctx context.Context, req *pb.ServiceUserCreateRequest) (*pb.ServiceUserCreateResponse, error) {
	caller := callerOf(ctx)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if err := caller.mayManage(); err != nil {
		return nil, err
	}
	var expires time.Time
	if seconds := req.GetExpiresInSeconds(); seconds > 0 {
		expires = c.server.now().Add(time.Duration(seconds) * time.Second)
	}
	user := &serviceUser{name: req.GetName(), createdBy: caller.member, scoped: req.GetScoped(), minted: true}
	switch err := caller.workspace.enroll(user, ExpiresAt(expires)); {
	case errors.Is(err, errNameTaken):
		return nil, status.Errorf(codes.AlreadyExists, "Service user '%s' already exists", user.name)
	case err != nil:
		return nil, status.Errorf(codes.InvalidArgument, "Invalid service user name '%s': %v", user.name, err)
	}
	resp := pb.ServiceUserCreateResponse_builder{
		TokenId: user.token.ID, TokenSecret: user.token.Secret, ServiceUserId: user.id,
	}
	if !expires.IsZero() {
		resp.ExpiresAt = timestamppb.New(expires)
	}
	return resp.Build(), nil
}

// ServiceUserDelete deletes a service user and its token.
//
// Assumed: an unknown or deleted service user is NOT_FOUND.
func (c *controlPlane) ServiceUserDelete(ctx context.Context, req *pb.ServiceUserDeleteRequest) (*emptypb.Empty, error) {
	caller := callerOf(ctx)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if err := caller.mayManage(); err != nil {
		return nil, err
	}
	user, err := caller.workspace.serviceUser(req.GetServiceUserId(), req.GetServiceUserName())
	if err != nil {
		return nil, err
	}
	c.server.deleteToken(user.token, c.server.keepDeletedFor)
	return &emptypb.Empty{}, nil
}

// ServiceUserInfo describes one service user.
//
// Assumed: only callers that may manage service users may ask.
func (c *controlPlane) ServiceUserInfo(ctx context.Context, req *pb.ServiceUserInfoRequest) (*pb.ServiceUserInfoResponse, error) {
	caller := callerOf(ctx)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if err := caller.mayManage(); err != nil {
		return nil, err
	}
	user, err := caller.workspace.serviceUser("", req.GetServiceUserName())
	if err != nil {
		return nil, err
	}
	now := c.server.now()
	return pb.ServiceUserInfoResponse_builder{ServiceUser: user.message(now, user.rolesAt(now.Add(-c.server.infoLag)))}.Build(), nil
}

// ServiceUserList describes the workspace's service users.
//
// Assumed: the list includes expired service users.
func (c *controlPlane) ServiceUserList(ctx context.Context, _ *emptypb.Empty) (*pb.ServiceUserListResponse, error) {
	caller := callerOf(ctx)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if err := caller.mayManage(); err != nil {
		return nil, err
	}
	var items []*pb.ServiceUser
	for _, user := range c.server.listedWithLag() {
		if user.token.workspace == caller.workspace {
			items = append(items, user.message(c.server.now(), user.roles))
		}
	}
	return pb.ServiceUserListResponse_builder{ServiceUsers: items}.Build(), nil
}

// serviceUser finds a service user by its ID or its name. The caller must lock the server.
//
// Assumed: a request with both, or with neither, is INVALID_ARGUMENT.
func (w *Workspace) serviceUser(id, name string) (*serviceUser, error) {
	if (id == "") == (name == "") {
		return nil, status.Error(codes.InvalidArgument, "Give the service user's ID or its name")
	}
	w.server.expire()
	user := w.serviceUsers.byID[id]
	if id == "" {
		user = w.serviceUsers.byName[name]
	}
	if user == nil {
		return nil, status.Errorf(codes.NotFound, "Service user '%s' not found", id+name)
	}
	return user, nil
}
