// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// EnvironmentRole names the rights of a service user in one environment.
type EnvironmentRole string

// These roles can be assigned (Modal's Python client 1.6.4, cli/environment.py).
const (
	RoleViewer      EnvironmentRole = "viewer"
	RoleContributor EnvironmentRole = "contributor"
	RoleNoAccess    EnvironmentRole = "no-access"
)

var roleNumbers = map[EnvironmentRole]pb.EnvironmentRole{
	RoleViewer:      pb.EnvironmentRole_ENVIRONMENT_ROLE_VIEWER,
	RoleContributor: pb.EnvironmentRole_ENVIRONMENT_ROLE_CONTRIBUTOR,
	RoleNoAccess:    pb.EnvironmentRole_ENVIRONMENT_ROLE_NO_ACCESS,
}

// roleOf converts the number and the text of a role that Modal sends. An unknown role keeps Modal's text. A custom role is
// marked, because a workspace can name a custom role as a built-in role is named.
func roleOf(number pb.EnvironmentRole, text string) EnvironmentRole {
	if number == pb.EnvironmentRole_ENVIRONMENT_ROLE_UNSPECIFIED {
		return EnvironmentRole(text)
	}
	for role, known := range roleNumbers {
		if number == known {
			return role
		}
	}
	switch {
	case number == custom && text == "":
		return "custom"
	case number == custom:
		return EnvironmentRole(text + " (custom)")
	}
	return EnvironmentRole(cmp.Or(text, number.String()))
}

// SetEnvironmentRole assigns a role in the environment with that ID to the service user and replaces its
// former role there (EnvironmentRoleSet). It returns an *Error, with KindNotFound if the environment or the
// service user does not exist.
//
// An empty ID or an unknown role would mean something else to Modal. SetEnvironmentRole does not send it and
// returns an error that is not an *Error.
func (c *Client) SetEnvironmentRole(ctx context.Context, admin Token, serviceUserID, environmentID string, role EnvironmentRole) error {
	number, known := roleNumbers[role]
	switch {
	case serviceUserID == "":
		return errors.New("an environment role cannot be set, because the service user's ID is missing")
	case environmentID == "":
		return errors.New("an environment role cannot be set, because the environment's ID is missing")
	case !known:
		return fmt.Errorf("an environment role cannot be set to %q: give viewer, contributor or no-access", role)
	}
	ctx, err := withToken(ctx, admin)
	if err != nil {
		return err
	}
	// Modal's own clients send the environment's ID and never its name (Modal's Python client 1.6.4).
	_, err = c.stub.EnvironmentRoleSet(ctx, pb.EnvironmentRoleSetRequest_builder{
		ServiceUserId: serviceUserID, EnvironmentId: environmentID, Role: number, RoleStr: string(role),
	}.Build())
	return err
}

// Environment is an environment of a workspace.
type Environment struct {
	ID, Name string
	// Role is the role of the calling token's owner. It is empty if Modal does not report it.
	Role EnvironmentRole
}

// Environments returns the environments that t may see, sorted by name (EnvironmentList). It omits
// environments without a usable ID or name. It returns an *Error.
func (c *Client) Environments(ctx context.Context, t Token) ([]Environment, error) {
	ctx, err := withToken(ctx, t)
	if err != nil {
		return nil, err
	}
	clean := newRedactor(t.Secret)
	items := list{what: "environments", field: 2, most: maxEnvironments, limit: maxList, clean: clean}
	environments, err := listOf(ctx, c, pb.ModalClient_EnvironmentList_FullMethodName, &emptypb.Empty{}, items, clean.environment)
	if err != nil {
		return nil, err
	}
	environments = slices.DeleteFunc(environments, func(e Environment) bool { return e.ID == "" || e.Name == "" })
	slices.SortFunc(environments, func(a, b Environment) int { return cmp.Compare(a.Name, b.Name) })
	return environments, nil
}

func (r *redactor) environment(entry []byte) (found Environment, err error) {
	err = eachField(entry, func(field int, v value) error {
		switch field {
		case 1: // name
			if found.Name = r.name(r.text(v)); found.Name != string(v.bytes) {
				found.Name = ""
			}
		case 6: // environment_id
			found.ID = r.id(r.text(v))
		case 18: // effective_role
			found.Role = roleOf(pb.EnvironmentRole(v.number), "") //nolint:gosec // an enum is cut to 32 bits, as protobuf does
		}
		return nil
	})
	return found, err
}
