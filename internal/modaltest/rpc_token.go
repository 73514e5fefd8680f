// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"time"

	"github.com/golang-jwt/jwt/v5"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// jwtLifetime is the lifetime of a JWT. Assumed: 20 minutes, which Modal's clients use for a JWT without an
// expiry (Go SDK, auth_token_manager.go). Modal does not publish the real lifetime.
const jwtLifetime = 20 * time.Minute

// imageBuilderVersion is an arbitrary version, because clients only forward it.
const imageBuilderVersion = "2025.06"

// controlPlane answers the RPCs. An RPC that it does not have is UNIMPLEMENTED.
type controlPlane struct {
	pb.UnimplementedModalClientServer
	server *Server
}

func unknownMethod(any, grpc.ServerStream) error {
	return status.Error(codes.Unimplemented, "unknown method")
}

func (c *controlPlane) AuthTokenGet(ctx context.Context, _ *pb.AuthTokenGetRequest) (*pb.AuthTokenGetResponse, error) {
	now := c.server.now()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.RegisteredClaims{
		Subject:   callerOf(ctx).ID,
		IssuedAt:  jwt.NewNumericDate(now),
		ExpiresAt: jwt.NewNumericDate(now.Add(jwtLifetime)),
	}).SignedString(c.server.jwtKey)
	if err != nil {
		return nil, status.Errorf(codes.Internal, "sign the auth token: %v", err)
	}
	return pb.AuthTokenGetResponse_builder{Token: signed}.Build(), nil
}

func (c *controlPlane) ClientHello(context.Context, *emptypb.Empty) (*pb.ClientHelloResponse, error) {
	return pb.ClientHelloResponse_builder{ImageBuilderVersion: imageBuilderVersion}.Build(), nil
}

func (c *controlPlane) TokenInfoGet(ctx context.Context, _ *pb.TokenInfoGetRequest) (*pb.TokenInfoGetResponse, error) {
	caller := callerOf(ctx)
	info := pb.TokenInfoGetResponse_builder{
		TokenId:       caller.ID,
		WorkspaceId:   caller.workspace.id,
		WorkspaceName: caller.workspace.name,
		CreatedAt:     timestamppb.New(caller.created),
		TokenName:     caller.name,
	}
	if !caller.expires.IsZero() {
		info.ExpiresAt = timestamppb.New(caller.expires)
	}
	if user := caller.serviceUser; user != nil {
		info.ServiceUserIdentity = pb.ServiceUserIdentity_builder{
			ServiceUserId: user.id, ServiceUserName: user.name, CreatedBy: user.createdBy.identity(),
		}.Build()
	} else {
		info.UserIdentity = caller.member.identity()
	}
	return info.Build(), nil
}

func (m *Member) identity() *pb.UserIdentity {
	if m == nil {
		return nil
	}
	return pb.UserIdentity_builder{UserId: m.id, Username: m.username}.Build()
}

// WorkspaceNameLookup returns the workspace's name in the field username, where every client reads it (Python
// client, cli/profile.py).
func (c *controlPlane) WorkspaceNameLookup(ctx context.Context, _ *emptypb.Empty) (*pb.WorkspaceNameLookupResponse, error) {
	return pb.WorkspaceNameLookupResponse_builder{Username: callerOf(ctx).workspace.name}.Build(), nil
}
