// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"strings"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// IdentityKind is what kind of principal a token belongs to.
type IdentityKind string

// The kinds of principal that Modal knows.
const (
	IdentityUser        IdentityKind = "user"
	IdentityServiceUser IdentityKind = "service_user"
)

// Identity is who a token is, as Modal says.
type Identity struct {
	TokenID, TokenName         string
	WorkspaceID, WorkspaceName string
	// Kind, ID and Name are those of the user or service user that owns the token.
	Kind     IdentityKind
	ID, Name string
	// CreatedAt is in UTC; zero when Modal does not say.
	CreatedAt time.Time
	// ExpiresAt is in UTC; zero when the token never expires.
	ExpiresAt time.Time
}

// WhoAmI asks Modal whose token t is (TokenInfoGet). Its errors are *Error, KindRefused when Modal
// does not accept the token; an answer that does not name this token, a workspace and an owner is
// KindUnavailable. A malformed token is not sent at all and is no *Error.
func (c *Client) WhoAmI(ctx context.Context, t Token) (Identity, error) {
	ctx, err := as(ctx, t)
	if err != nil {
		return Identity{}, err
	}
	answer, err := c.stub.TokenInfoGet(ctx, &pb.TokenInfoGetRequest{})
	if err != nil {
		return Identity{}, err
	}
	who := newIdentity(answer)
	if flaw := who.flaw(t); flaw != "" {
		return Identity{}, c.distrust("TokenInfoGet", flaw)
	}
	return who, nil
}

func newIdentity(answer *pb.TokenInfoGetResponse) Identity {
	who := Identity{
		TokenID:       answer.GetTokenId(),
		TokenName:     answer.GetTokenName(),
		WorkspaceID:   answer.GetWorkspaceId(),
		WorkspaceName: answer.GetWorkspaceName(),
		CreatedAt:     utc(answer.GetCreatedAt()),
		ExpiresAt:     utc(answer.GetExpiresAt()),
	}
	if user := answer.GetUserIdentity(); user != nil {
		who.Kind, who.ID, who.Name = IdentityUser, user.GetUserId(), user.GetUsername()
	}
	if user := answer.GetServiceUserIdentity(); user != nil {
		who.Kind, who.ID, who.Name = IdentityServiceUser, user.GetServiceUserId(), user.GetServiceUserName()
	}
	return who
}

// flaw says why the identity cannot be that of t, or nothing.
func (who Identity) flaw(t Token) string {
	switch {
	case who.TokenID != strings.TrimSpace(t.ID):
		return "it is about another token"
	case who.WorkspaceID == "":
		return "it names no workspace"
	case who.ID == "":
		return "it names no owner"
	}
	return ""
}

// utc is zero for a time that is unset or the epoch, which both mean "none" (Modal's Python client
// v1.5.4, cli/token.py).
func utc(at *timestamppb.Timestamp) time.Time {
	if at.GetSeconds() <= 0 {
		return time.Time{}
	}
	return at.AsTime()
}
