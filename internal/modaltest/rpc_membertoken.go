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

// TokenDelete deletes a member's token, which may be the caller's own (Python client 1.6.4, token_flow.py).
func (c *controlPlane) TokenDelete(ctx context.Context, req *pb.TokenDeleteRequest) (*emptypb.Empty, error) {
	caller := callerOf(ctx)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	t, err := caller.manageableToken(req.GetTokenId())
	if err != nil {
		return nil, err
	}
	c.server.deleteToken(t, c.server.keepDeletedFor)
	return &emptypb.Empty{}, nil
}

// TokensList lists the members' tokens. Owners and managers see all tokens of the workspace, other members
// their own (Python client 1.6.4, _workspace.py).
//
// Assumed: the list includes expired and disabled tokens, and no tokens of service users.
func (c *controlPlane) TokensList(ctx context.Context, _ *emptypb.Empty) (*dynamicpb.Message, error) {
	caller := callerOf(ctx)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	if err := caller.mayAskForTokens(); err != nil {
		return nil, err
	}
	return listing(slices.DeleteFunc(c.server.listed(), func(t *token) bool {
		return t.member == nil || t.workspace != caller.workspace || !caller.mayManageTokensOf(t.member)
	})), nil
}

// TokenDisable makes Modal reject members' tokens until TokenEnable.
func (c *controlPlane) TokenDisable(ctx context.Context, req *dynamicpb.Message) (*emptypb.Empty, error) {
	return c.setDisabled(ctx, req, true)
}

// TokenEnable makes Modal accept disabled tokens again.
func (c *controlPlane) TokenEnable(ctx context.Context, req *dynamicpb.Message) (*emptypb.Empty, error) {
	return c.setDisabled(ctx, req, false)
}

// setDisabled disables or enables tokens. Assumed: either all tokens change or none, and a request without a
// token is INVALID_ARGUMENT.
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
		if tokens[i], err = caller.manageableToken(id); err != nil {
			return nil, err
		}
	}
	for _, t := range tokens {
		t.disabled = disabled
	}
	return &emptypb.Empty{}, nil
}

// manageableToken returns the member token with that ID if the caller may delete or disable it. Owners and
// managers may manage all tokens of the workspace, other members their own (Python client 1.6.4,
// _workspace.py). The caller must lock the server.
//
// Assumed:
//
//   - the codes and texts
//   - a deleted token is unknown at once, even while it is still accepted
//   - a token of another workspace is unknown
//   - TokenDelete refuses service users and their tokens
func (t *token) manageableToken(id string) (*token, error) {
	if err := t.mayAskForTokens(); err != nil {
		return nil, err
	}
	t.workspace.server.expire()
	target := t.workspace.server.tokens[id]
	switch {
	case target == nil || target.workspace != t.workspace || !target.rejectedFrom.IsZero():
		return nil, status.Errorf(codes.NotFound, "Token '%s' not found", id)
	case target.member == nil:
		return nil, status.Errorf(codes.PermissionDenied, "Token '%s' is a service user's", id)
	case !t.mayManageTokensOf(target.member):
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

// mayManageTokensOf reports whether the caller, who is a member, may manage the tokens of m. The caller must
// lock the server.
func (t *token) mayManageTokensOf(m *Member) bool { return t.member == m || t.member.role != RoleUser }
