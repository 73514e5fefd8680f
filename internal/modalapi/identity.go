// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"strings"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// IdentityKind says whether a token belongs to a person or a service user.
type IdentityKind string

// These are the kinds of token owner that Modal knows.
const (
	IdentityUser        IdentityKind = "user"
	IdentityServiceUser IdentityKind = "service_user"
)

// Identity describes a token and its owner as Modal reports them. A name that cannot be shown unchanged ends
// in "…".
type Identity struct {
	TokenID, TokenName         string
	WorkspaceID, WorkspaceName string
	// Kind, ID and Name describe the user or service user that owns the token.
	Kind     IdentityKind
	ID, Name string
	// CreatedAt is in UTC; zero if Modal does not report it.
	CreatedAt time.Time
	// ExpiresAt is in UTC; zero if the token never expires.
	ExpiresAt time.Time
}

// WhoAmI asks Modal who owns the token t (TokenInfoGet). It returns an *Error, with KindRefused if Modal
// rejects the token. An answer without this token, a workspace and an owner is KindUnavailable. A malformed
// token is not sent, and the error is not an *Error.
func (c *Client) WhoAmI(ctx context.Context, t Token) (Identity, error) {
	ctx, err := withToken(ctx, t)
	if err != nil {
		return Identity{}, err
	}
	answer, err := c.stub.TokenInfoGet(ctx, &pb.TokenInfoGetRequest{})
	if err != nil {
		return Identity{}, err
	}
	who := newIdentity(answer, newRedactor(t.Secret))
	if flaw := who.flaw(t); flaw != "" {
		return Identity{}, c.badAnswer("TokenInfoGet", flaw)
	}
	return who, nil
}

func newIdentity(answer *pb.TokenInfoGetResponse, r *redactor) Identity {
	who := Identity{
		TokenID:       r.id(answer.GetTokenId()),
		TokenName:     r.name(answer.GetTokenName()),
		WorkspaceID:   r.id(answer.GetWorkspaceId()),
		WorkspaceName: r.name(answer.GetWorkspaceName()),
		CreatedAt:     utc(answer.GetCreatedAt()),
		ExpiresAt:     utc(answer.GetExpiresAt()),
	}
	if user := answer.GetUserIdentity(); user != nil {
		who.Kind, who.ID, who.Name = IdentityUser, r.id(user.GetUserId()), r.name(user.GetUsername())
	}
	if user := answer.GetServiceUserIdentity(); user != nil {
		who.Kind, who.ID, who.Name = IdentityServiceUser, r.id(user.GetServiceUserId()), r.name(user.GetServiceUserName())
	}
	return who
}

// flaw says why the identity cannot belong to t. It is empty if the identity is usable.
func (who Identity) flaw(t Token) string {
	switch {
	case who.TokenID != strings.TrimSpace(t.ID):
		return "it describes another token"
	case who.WorkspaceID == "":
		return "it names no workspace"
	case who.ID == "":
		return "it names no owner"
	}
	return ""
}

// utc converts a time from Modal. It returns zero for an unset time and for the epoch, which both mean "none"
// (Modal's Python client 1.6.4, cli/token.py), and for a time that RFC 3339 cannot represent.
func utc(at *timestamppb.Timestamp) time.Time {
	if at.GetSeconds() <= 0 {
		return time.Time{}
	}
	return writable(at.AsTime())
}

// writable returns zero for a time that RFC 3339, and therefore JSON, cannot represent, because storing such
// a time would fail. An expiry after the year 9999 means "never" in practice. Any other time beyond these
// years is certainly wrong.
func writable(at time.Time) time.Time {
	if year := at.Year(); year < 1 || year > 9999 {
		return time.Time{}
	}
	return at
}
