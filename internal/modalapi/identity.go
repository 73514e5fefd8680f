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

// Identity is who a token is, as Modal says. A name that cannot be shown as it is ends in "…".
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
	who := newIdentity(answer, newRedactor(t.Secret))
	if flaw := who.flaw(t); flaw != "" {
		return Identity{}, c.distrust("TokenInfoGet", flaw)
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
// v1.5.4, cli/token.py), and for one that cannot be written.
func utc(at *timestamppb.Timestamp) time.Time {
	if at.GetSeconds() <= 0 {
		return time.Time{}
	}
	return writable(at.AsTime())
}

// writable is zero for a time that RFC 3339, and so JSON, has no way to write: storing it would fail.
// An expiry after the year 9999 is none to anybody who lives, and no other time can be right there.
func writable(at time.Time) time.Time {
	if year := at.Year(); year < 1 || year > 9999 {
		return time.Time{}
	}
	return at
}
