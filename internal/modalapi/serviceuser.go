// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// NewServiceUser is a service user to create.
type NewServiceUser struct {
	// Name is lower-case letters, digits, - and _; Modal judges it.
	Name string
	// Scoped keeps the service user out of every environment in which it has no role.
	Scoped bool
	// ExpiresIn is whole seconds that fit in 32 bits; zero means never.
	ExpiresIn time.Duration
}

// MintedServiceUser is a service user that Modal has just created. Its secret is shown this once.
type MintedServiceUser struct {
	ID    string
	Token Token
	// ExpiresAt is in UTC; zero when the token never expires.
	ExpiresAt time.Time
}

// ServiceUser is what Modal tells of a service user. Times are in UTC, zero when there is none. A name
// that cannot be shown as it is ends in "…", and an ID is empty then.
type ServiceUser struct {
	ID, Name, TokenID string
	// Status is Modal's text, whose values are not known.
	Status string
	Scoped bool
	// Roles has the role in each environment, by the environment's name; never nil.
	Roles                            map[string]EnvironmentRole
	CreatedAt, ExpiresAt, LastUsedAt time.Time
}

// CreateServiceUser creates a service user (ServiceUserCreate) and returns what Modal answered,
// unjudged: see [MintedServiceUser.Flaw]. It makes one attempt, and another one only where Modal
// throttled the first, which says that it was not done.
//
// Its errors are *Error. KindUnavailable, the end of ctx included, means that the service user may
// exist; every other kind that it was not created, KindExists that the name is taken. On a plan or in
// a workspace without service users the kind is KindConflict or KindUnsupported (Assumed: no client
// names the code). A request that cannot be sent as it is meant is no *Error and nothing is sent.
func (c *Client) CreateServiceUser(ctx context.Context, admin Token, u NewServiceUser) (MintedServiceUser, error) {
	expiresIn, err := wholeSeconds(u.ExpiresIn)
	if err != nil {
		return MintedServiceUser{}, fmt.Errorf("creating service user %q: %w", u.Name, err)
	}
	ctx, err = as(ctx, admin)
	if err != nil {
		return MintedServiceUser{}, err
	}
	answer, err := c.stub.ServiceUserCreate(ctx, pb.ServiceUserCreateRequest_builder{
		Name: u.Name, Scoped: u.Scoped, ExpiresInSeconds: expiresIn,
	}.Build())
	if err != nil {
		return MintedServiceUser{}, err
	}
	return MintedServiceUser{
		ID:        newRedactor(admin.Secret, answer.GetTokenSecret()).id(answer.GetServiceUserId()),
		Token:     Token{ID: half(answer.GetTokenId()), Secret: half(answer.GetTokenSecret())},
		ExpiresAt: utc(answer.GetExpiresAt()),
	}, nil
}

// half bounds half a token, and leaves one that is too long too long.
func half(value string) string { return value[:min(len(value), maxLength+1)] }

// wholeSeconds refuses what would be cut off: less than a second would become "never".
func wholeSeconds(d time.Duration) (uint32, error) {
	seconds := int64(d / time.Second)
	if d%time.Second != 0 || seconds < 0 || seconds > math.MaxUint32 {
		return 0, fmt.Errorf("an expiry in %s cannot be asked for: give whole seconds, at most %d, or zero for never", d, uint32(math.MaxUint32))
	}
	return uint32(seconds), nil
}

// Flaw says why the answer cannot be used at the time now, or nothing. It never repeats a secret.
func (m MintedServiceUser) Flaw(now time.Time) string {
	token, _, err := ParseToken(m.Token.ID, m.Token.Secret)
	switch {
	case m.ID == "":
		return "it has no service user ID"
	case err != nil:
		return err.Error()
	case token != m.Token:
		return "its token has white space around it"
	case newRedactor(token.Secret).id(token.ID) != token.ID:
		return "its token ID cannot be shown"
	case !m.ExpiresAt.IsZero() && !m.ExpiresAt.After(now):
		return "it expired at " + m.ExpiresAt.Format(time.RFC3339)
	}
	return ""
}

// DeleteServiceUser deletes the service user of that ID and with it its token (ServiceUserDelete).
// Its errors are *Error, KindNotFound when there is none any more: also when a first attempt did the
// work and only its answer was lost. An empty ID is not sent and is no *Error.
func (c *Client) DeleteServiceUser(ctx context.Context, admin Token, id string) error {
	if id == "" {
		return errors.New("deleting a service user: its ID is missing")
	}
	ctx, err := as(ctx, admin)
	if err != nil {
		return err
	}
	_, err = c.stub.ServiceUserDelete(ctx, pb.ServiceUserDeleteRequest_builder{ServiceUserId: id}.Build())
	return err
}

// ServiceUser returns the service user of that name (ServiceUserInfo). Its errors are *Error,
// KindNotFound when there is none; an answer about another name, or that cannot be used, is
// KindUnavailable. An empty name is not sent and is no *Error.
func (c *Client) ServiceUser(ctx context.Context, admin Token, name string) (ServiceUser, error) {
	if name == "" {
		return ServiceUser{}, errors.New("asking Modal about a service user: its name is missing")
	}
	ctx, err := as(ctx, admin)
	if err != nil {
		return ServiceUser{}, err
	}
	answer, err := c.stub.ServiceUserInfo(ctx, pb.ServiceUserInfoRequest_builder{ServiceUserName: name}.Build())
	if err != nil {
		return ServiceUser{}, err
	}
	if answer.GetServiceUser().GetName() != name {
		return ServiceUser{}, c.distrust("ServiceUserInfo", "it is about another service user")
	}
	user, flaw := newServiceUser(answer.GetServiceUser(), newRedactor(admin.Secret))
	if flaw == "" && user.ID == "" {
		flaw = "it has no service user ID"
	}
	if flaw != "" {
		return ServiceUser{}, c.distrust("ServiceUserInfo", flaw)
	}
	return user, nil
}

// ServiceUsers returns all service users of the workspace, in Modal's order (ServiceUserList). Its
// errors are *Error.
func (c *Client) ServiceUsers(ctx context.Context, admin Token) ([]ServiceUser, error) {
	ctx, err := as(ctx, admin)
	if err != nil {
		return nil, err
	}
	answer, err := c.stub.ServiceUserList(ctx, &emptypb.Empty{})
	if err != nil {
		return nil, err
	}
	if flaw := tooMany("service users", len(answer.GetServiceUsers()), maxServiceUsers); flaw != "" {
		return nil, c.distrust("ServiceUserList", flaw)
	}
	clean := newRedactor(admin.Secret)
	users := make([]ServiceUser, len(answer.GetServiceUsers()))
	for i, user := range answer.GetServiceUsers() {
		var flaw string
		if users[i], flaw = newServiceUser(user, clean); flaw != "" {
			return nil, c.distrust("ServiceUserList", flaw)
		}
	}
	return users, nil
}

// More than these no workspace has; an answer with more is a mistake, or is meant to fill our memory.
const (
	maxServiceUsers = 200_000
	maxEnvironments = 10_000
	maxRoles        = 5_000
	maxMemberTokens = 100_000
)

func tooMany(what string, count, limit int) string {
	if count <= limit {
		return ""
	}
	return fmt.Sprintf("it has %d %s, which is too many to be true", count, what)
}

func newServiceUser(user *pb.ServiceUser, r redactor) (made ServiceUser, flaw string) {
	if flaw = tooMany("environment roles of one service user", len(user.GetEnvironmentRoles()), maxRoles); flaw != "" {
		return ServiceUser{}, flaw
	}
	roles := make(map[string]EnvironmentRole, len(user.GetEnvironmentRoles()))
	for _, entry := range user.GetEnvironmentRoles() {
		roles[r.name(entry.GetEnvironmentName())] = EnvironmentRole(r.name(string(roleOf(entry))))
	}
	return ServiceUser{
		ID: r.id(user.GetServiceUserId()), Name: r.name(user.GetName()), TokenID: r.id(user.GetTokenId()),
		Status: r.name(user.GetStatus()), Scoped: user.GetScoped(), Roles: roles,
		CreatedAt:  fromEpoch(user.GetCreatedAt()),
		ExpiresAt:  fromEpoch(user.GetExpiresAt()),
		LastUsedAt: fromEpoch(user.GetLastUsedAt()),
	}, ""
}

// year10000 is the first second that RFC 3339 cannot write.
const year10000 = 253402300800

// fromEpoch is zero for what is no time: nothing, less, NaN or beyond all calendars. Microseconds are
// as fine as a double of today's date is.
func fromEpoch(seconds float64) time.Time {
	if seconds > 0 && seconds < year10000 {
		return writable(time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC())
	}
	return time.Time{}
}
