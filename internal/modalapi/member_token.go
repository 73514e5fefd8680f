// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"errors"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// The generated stubs lack these calls, which Modal's Python client has since 1.6.3. The stubs contain only
// the request message of TokenDelete.
const (
	tokenDelete = "/modal.client.ModalClient/TokenDelete"
	tokensList  = "/modal.client.ModalClient/TokensList"
)

// DeleteToken deletes the member token with that ID (TokenDelete). The caller's token may be that same token:
// Modal's Python client 1.6.4 deletes a replaced token that way and treats a rejection as success. Owners and
// managers may delete any token of their workspace, other members their own.
//
// DeleteToken returns an *Error. The kind is KindRefused also if a first attempt deleted the caller's token
// and its answer was lost. An empty ID is not sent, and the error is not an *Error.
func (c *Client) DeleteToken(ctx context.Context, caller Token, id string) error {
	if id == "" {
		return errors.New("a token cannot be deleted, because its ID is missing")
	}
	ctx, err := withToken(ctx, caller)
	if err != nil {
		return err
	}
	return c.conn.Invoke(ctx, tokenDelete, pb.TokenDeleteRequest_builder{TokenId: id}.Build(), &emptypb.Empty{})
}

// MemberToken describes a member's token. An ID that cannot be shown is empty. Times are in UTC, and zero if
// Modal reports none.
type MemberToken struct {
	ID, WorkspaceID, UserID string
	// Disabled reports that Modal rejects the token until a person enables it again.
	Disabled                         bool
	CreatedAt, ExpiresAt, LastUsedAt time.Time
}

// MemberTokens returns the members' tokens that the caller may see, in Modal's order (TokensList). Owners and
// managers see all tokens of their workspace, other members their own, and service users see no tokens.
// MemberTokens returns an *Error, with KindUnsupported if the server does not have the call.
func (c *Client) MemberTokens(ctx context.Context, caller Token) ([]MemberToken, error) {
	ctx, err := withToken(ctx, caller)
	if err != nil {
		return nil, err
	}
	clean := newRedactor(caller.Secret)
	tokens := list{what: "tokens of members", field: 1, most: maxMemberTokens, limit: maxList, clean: clean}
	return listOf(ctx, c, tokensList, &emptypb.Empty{}, tokens, clean.memberToken)
}

func (r *redactor) memberToken(entry []byte) (token MemberToken, err error) {
	err = eachField(entry, func(field int, v value) error {
		switch field {
		case 1: // token_id
			token.ID = r.id(r.text(v))
		case 2: // created_at
			token.CreatedAt = v.date()
		case 3: // workspace_id
			token.WorkspaceID = r.id(r.text(v))
		case 4: // user_id
			token.UserID = r.id(r.text(v))
		case 5: // last_used_at
			token.LastUsedAt = v.date()
		case 11: // expires_at
			token.ExpiresAt = v.date()
		case 12: // disabled
			token.Disabled = v.number != 0
		}
		return nil
	})
	return token, err
}
