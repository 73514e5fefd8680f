// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"slices"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// TokenDelete ends a member's token, the caller's own not excepted (Python client 1.6.4, token_flow.py).
func (c *controlPlane) TokenDelete(ctx context.Context, req *pb.TokenDeleteRequest) (*emptypb.Empty, error) {
	caller := callerOf(ctx)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	t, err := caller.mayEnd(req.GetTokenId())
	if err != nil {
		return nil, err
	}
	c.server.deleteToken(t, c.server.keepDeletedFor)
	return &emptypb.Empty{}, nil
}

// TokensList lists the members' tokens: all of them to owners and managers, to others their own (Python
// client 1.6.4, _workspace.py).
//
// Assumed: expired and disabled ones are among them, service users' are not.
func (c *controlPlane) TokensList(ctx context.Context, _ *emptypb.Empty) (*dynamicpb.Message, error) {
	caller := callerOf(ctx)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if err := caller.mayAskForTokens(); err != nil {
		return nil, err
	}
	return listing(slices.DeleteFunc(c.server.listed(), func(t *token) bool {
		return t.member == nil || t.workspace != caller.workspace || !caller.governs(t.member)
	})), nil
}

// TokenDisable has Modal refuse members' tokens until they are enabled again.
func (c *controlPlane) TokenDisable(ctx context.Context, req *dynamicpb.Message) (*emptypb.Empty, error) {
	return c.setDisabled(ctx, req, true)
}

// TokenEnable ends what TokenDisable began.
func (c *controlPlane) TokenEnable(ctx context.Context, req *dynamicpb.Message) (*emptypb.Empty, error) {
	return c.setDisabled(ctx, req, false)
}

// Assumed: all of the tokens change, or none; no token is INVALID_ARGUMENT.
func (c *controlPlane) setDisabled(ctx context.Context, req *dynamicpb.Message, disabled bool) (*emptypb.Empty, error) {
	caller, ids := callerOf(ctx), tokenIDs(req)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if len(ids) == 0 {
		return nil, status.Error(codes.InvalidArgument, "Give the tokens' IDs")
	}
	tokens := make([]*token, len(ids))
	for i, id := range ids {
		var err error
		if tokens[i], err = caller.mayEnd(id); err != nil {
			return nil, err
		}
	}
	for _, t := range tokens {
		t.disabled = disabled
	}
	return &emptypb.Empty{}, nil
}

// mayEnd returns the member's token of that ID if the caller may end it: an owner or manager any of the
// workspace, another member their own (Python client 1.6.4, _workspace.py). The caller holds the
// server's lock.
//
// Assumed: the codes and texts; that a token is unknown once it is deleted, even while it is still
// accepted, and in another workspace; that TokenDelete is not for service users and their tokens.
func (t *token) mayEnd(id string) (*token, error) {
	if err := t.mayAskForTokens(); err != nil {
		return nil, err
	}
	t.workspace.server.expire()
	target := t.workspace.server.tokens[id]
	switch {
	case target == nil || target.workspace != t.workspace || !target.refusedFrom.IsZero():
		return nil, status.Errorf(codes.NotFound, "Token '%s' not found", id)
	case target.member == nil:
		return nil, status.Errorf(codes.PermissionDenied, "Token '%s' is a service user's", id)
	case !t.governs(target.member):
		return nil, status.Errorf(codes.PermissionDenied, "Token '%s' is another member's", id)
	}
	return target, nil
}

func (t *token) mayAskForTokens() error {
	if t.member == nil {
		return status.Error(codes.PermissionDenied, "Service users cannot manage members' tokens")
	}
	return nil
}

// governs says whether the caller, a member's token, may manage a member's tokens. The caller holds the
// server's lock.
func (t *token) governs(m *Member) bool { return t.member == m || t.member.role != RoleUser }
