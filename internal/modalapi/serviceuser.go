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

// NewServiceUser describes a service user to create.
type NewServiceUser struct {
	// Name consists of lower-case letters, digits, - and _. Modal checks it.
	Name string
	// Scoped denies the service user every environment in which it has no role.
	Scoped bool
	// ExpiresIn must be whole seconds that fit in 32 bits; zero means never.
	ExpiresIn time.Duration
}

// MintedServiceUser is a service user that Modal has just created. Modal shows its token secret only this
// once.
type MintedServiceUser struct {
	ID    string
	Token Token
	// ExpiresAt is in UTC; zero if the token never expires.
	ExpiresAt time.Time
}

// ServiceUser describes a service user as Modal reports it. Times are in UTC; zero means none. A name that
// cannot be shown unchanged ends in "…", and such an ID is empty.
type ServiceUser struct {
	ID, Name, TokenID string
	// Status is Modal's text. Its possible values are not known.
	Status string
	Scoped bool
	// Roles contains the role in each environment, by the environment's name. It is never nil. Do not change
	// it: service users with the same roles may share it.
	Roles                            map[string]EnvironmentRole
	CreatedAt, ExpiresAt, LastUsedAt time.Time
}

// CreateServiceUser creates a service user (ServiceUserCreate) and returns Modal's answer without checking
// it: see [MintedServiceUser.Flaw]. It sends one attempt. It sends another only after Modal throttled the
// first, because then Modal did not do the work.
//
// It returns an *Error. KindUnavailable, also after the end of ctx, means that the service user may exist.
// Every other kind means that Modal did not create it; KindExists means that the name is in use. In a
// workspace or on a plan without service users the kind is KindConflict or KindUnsupported (Assumed: no
// client names the code). If the request cannot be sent as intended, nothing is sent and the error is not an
// *Error.
func (c *Client) CreateServiceUser(ctx context.Context, admin Token, u NewServiceUser) (MintedServiceUser, error) {
	expiresIn, err := wholeSeconds(u.ExpiresIn)
	if err != nil {
		return MintedServiceUser{}, fmt.Errorf("service user %q cannot be created: %w", u.Name, err)
	}
	ctx, err = withToken(ctx, admin)
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
		Token:     Token{ID: boundValue(answer.GetTokenId()), Secret: boundValue(answer.GetTokenSecret())},
		ExpiresAt: utc(answer.GetExpiresAt()),
	}, nil
}

// boundValue shortens a token ID or secret to maxLength+1 bytes. A value that is too long stays too long, so
// that a later check still refuses it.
func boundValue(value string) string { return value[:min(len(value), maxLength+1)] }

// wholeSeconds converts a duration to seconds. It refuses a duration that would lose a fraction: a duration
// of less than a second would become "never".
func wholeSeconds(d time.Duration) (uint32, error) {
	seconds := int64(d / time.Second)
	if d%time.Second != 0 || seconds < 0 || seconds > math.MaxUint32 {
		return 0, fmt.Errorf("Modal cannot set an expiry of %s: give whole seconds, at most %d, or zero for never", d, uint32(math.MaxUint32))
	}
	return uint32(seconds), nil
}

// Flaw says why the answer cannot be used. It is empty for a usable answer and never repeats a secret. It
// does not check ExpiresAt, which Modal computes from its own clock.
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

// DeleteServiceUser deletes the service user with that ID together with its token (ServiceUserDelete). It
// returns an *Error. The kind is KindNotFound if the service user does not exist, also if a first attempt
// deleted it and the answer was lost. An empty ID is not sent, and the error is not an *Error.
func (c *Client) DeleteServiceUser(ctx context.Context, admin Token, id string) error {
	if id == "" {
		return errors.New("a service user cannot be deleted, because its ID is missing")
	}
	ctx, err := withToken(ctx, admin)
	if err != nil {
		return err
	}
	_, err = c.stub.ServiceUserDelete(ctx, pb.ServiceUserDeleteRequest_builder{ServiceUserId: id}.Build())
	return err
}

// ServiceUser returns the service user with that name (ServiceUserInfo). It returns an *Error, with
// KindNotFound if the service user does not exist. An answer that is unusable or describes another name is
// KindUnavailable. An empty name is not sent, and the error is not an *Error.
func (c *Client) ServiceUser(ctx context.Context, admin Token, name string) (ServiceUser, error) {
	if name == "" {
		return ServiceUser{}, errors.New("Modal cannot be asked about a service user, because its name is missing")
	}
	ctx, err := withToken(ctx, admin)
	if err != nil {
		return ServiceUser{}, err
	}
	clean := newRedactor(admin.Secret)
	single := list{what: "service users", field: 1, most: 1, limit: maxAnswer, clean: clean}
	request := pb.ServiceUserInfoRequest_builder{ServiceUserName: name}.Build()
	found, err := listOf(ctx, c, pb.ModalClient_ServiceUserInfo_FullMethodName, request, single, clean.serviceUser)
	switch {
	case err != nil:
		return ServiceUser{}, err
	case len(found) == 0 || found[0].Name != name:
		return ServiceUser{}, c.badAnswer("ServiceUserInfo", "it describes another service user")
	case found[0].ID == "":
		return ServiceUser{}, c.badAnswer("ServiceUserInfo", "it has no service user ID")
	}
	return found[0], nil
}

// ServiceUsers returns all service users of the workspace, in Modal's order (ServiceUserList). It returns an
// *Error.
func (c *Client) ServiceUsers(ctx context.Context, admin Token) ([]ServiceUser, error) {
	ctx, err := withToken(ctx, admin)
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
			user.Status = r.repeatedName(v)
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
		err = checkCount("environment roles of one service user", roles, maxRoles)
	}
	if err == nil {
		user.Roles, err = r.roles(roles)
	}
	return user, err
}

// roleSize is the approximate memory of an environment role in a map, in bytes.
const roleSize = 100

// roles decodes the environment roles in r.raw. Many service users of a workspace have the same roles, and
// they share one map.
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
				environment = r.repeatedName(v)
			case 4: // role_str
				text = r.repeatedName(v)
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

// year10000 is the first second that RFC 3339 cannot represent, in seconds since 1970.
const year10000 = 253402300800

// fromEpoch converts seconds since 1970 to a time, rounded to microseconds, which is the precision of a
// float64 for present dates. It returns zero for a number that is no valid time: zero, a negative number,
// NaN, or a date after the year 9999.
func fromEpoch(seconds float64) time.Time {
	if seconds > 0 && seconds < year10000 {
		return writable(time.UnixMicro(int64(math.Round(seconds * 1e6))).UTC())
	}
	return time.Time{}
}
