// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/encoding/protowire"
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
	// Roles has the role in each environment, by the environment's name; never nil. It is for reading
	// only: service users with the same roles may share it.
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

// Flaw says why the answer cannot be used, or nothing. It never repeats a secret. It does not judge ExpiresAt, which
// Modal dates by Modal's own clock.
func (m MintedServiceUser) Flaw() string {
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
	clean := newRedactor(admin.Secret)
	one := list{what: "service users", field: 1, most: 1, limit: maxAnswer, clean: clean}
	request := pb.ServiceUserInfoRequest_builder{ServiceUserName: name}.Build()
	found, err := listOf(ctx, c, pb.ModalClient_ServiceUserInfo_FullMethodName, request, one, clean.serviceUser)
	switch {
	case err != nil:
		return ServiceUser{}, err
	case len(found) == 0 || found[0].Name != name:
		return ServiceUser{}, c.distrust("ServiceUserInfo", "it is about another service user")
	case found[0].ID == "":
		return ServiceUser{}, c.distrust("ServiceUserInfo", "it has no service user ID")
	}
	return found[0], nil
}

// ServiceUsers returns all service users of the workspace, in Modal's order (ServiceUserList). Its
// errors are *Error.
func (c *Client) ServiceUsers(ctx context.Context, admin Token) ([]ServiceUser, error) {
	ctx, err := as(ctx, admin)
	if err != nil {
		return nil, err
	}
	clean := newRedactor(admin.Secret)
	users := list{what: "service users", field: 1, most: maxServiceUsers, limit: maxList, clean: clean}
	return listOf(ctx, c, pb.ModalClient_ServiceUserList_FullMethodName, &emptypb.Empty{}, users, clean.serviceUser)
}

func (r *redactor) serviceUser(entry []byte) (user ServiceUser, err error) {
	r.raw = r.raw[:0]
	roles := 0
	err = eachField(entry, func(field int, v value) error {
		switch field {
		case 1: // name
			user.Name = r.name(r.text(v))
		case 2: // token_id
			user.TokenID = r.id(r.text(v))
		case 4: // created_at
			user.CreatedAt = v.date()
		case 5: // last_used_at
			user.LastUsedAt = v.date()
		case 7: // service_user_id
			user.ID = r.id(r.text(v))
		case 8: // status
			user.Status = r.common(v)
		case 9: // scoped
			user.Scoped = v.number != 0
		case 10: // environment_roles
			roles++
			r.raw = protowire.AppendBytes(r.raw, v.bytes)
		case 11: // expires_at
			user.ExpiresAt = v.date()
		}
		return nil
	})
	if err == nil {
		err = tooMany("environment roles of one service user", roles, maxRoles)
	}
	if err == nil {
		user.Roles, err = r.roles(roles)
	}
	return user, err
}

// roleSize is about how many bytes an environment role takes in a map.
const roleSize = 100

// roles returns the environment roles in r.raw. Most service users of a workspace have the same roles as
// others, and those share one map.
func (r *redactor) roles(count int) (map[string]EnvironmentRole, error) {
	if shared, known := r.shared[string(r.raw)]; known {
		return shared, nil
	}
	roles := make(map[string]EnvironmentRole, count)
	r.kept += roleSize * (count + 4)
	for rest := r.raw; len(rest) > 0; {
		entry, n := protowire.ConsumeBytes(rest)
		rest = rest[n:]
		var environment, text string
		var number pb.EnvironmentRole
		err := eachField(entry, func(field int, v value) error {
			switch field {
			case 2: // role
				number = pb.EnvironmentRole(v.number) //nolint:gosec // an enum is cut to 32 bits, as protobuf does
			case 3: // environment_name
				environment = r.common(v)
			case 4: // role_str
				text = r.common(v)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		roles[environment] = roleOf(number, text)
	}
	if len(r.shared) < maxSeen && len(r.raw) <= maxSeen {
		r.shared[string(r.raw)] = roles
		r.kept += len(r.raw) + roleSize
	}
	return roles, nil
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
