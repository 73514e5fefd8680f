// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"errors"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// These calls are newer than the generated stubs: Modal's Python client has them since 1.6.3. The stubs
// have the message of the first.
const (
	tokenDelete = "/modal.client.ModalClient/TokenDelete"
	tokensList  = "/modal.client.ModalClient/TokensList"
)

// DeleteToken deletes the member token of that ID with caller, which may be that very token
// (TokenDelete): Modal's Python client 1.6.4 ends a replaced token so, and takes a rejection for its end.
// Owners and managers may delete any token of their workspace, others their own. Its errors are *Error:
// KindRefused also when a first attempt did the work and only its answer was lost. An empty ID is not
// sent and is no *Error.
func (c *Client) DeleteToken(ctx context.Context, caller Token, id string) error {
	if id == "" {
		return errors.New("deleting a token: its ID is missing")
	}
	ctx, err := as(ctx, caller)
	if err != nil {
		return err
	}
	return c.conn.Invoke(ctx, tokenDelete, pb.TokenDeleteRequest_builder{TokenId: id}.Build(), &emptypb.Empty{})
}

// MemberToken describes a member's token. An ID that cannot be shown is empty. Times are in UTC, and zero
// where Modal has none.
type MemberToken struct {
	ID, WorkspaceID, UserID string
	// Disabled says that Modal rejects the token until somebody enables it again.
	Disabled                         bool
	CreatedAt, ExpiresAt, LastUsedAt time.Time
}

// MemberTokens returns the tokens of members that caller may see, in Modal's order (TokensList): owners
// and managers see all of their workspace, other members their own, and service users none. Its errors are
// *Error, KindUnsupported where the server does not have the call.
func (c *Client) MemberTokens(ctx context.Context, caller Token) ([]MemberToken, error) {
	ctx, err := as(ctx, caller)
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
