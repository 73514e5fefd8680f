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

// EnvironmentRole is what a service user may do in one environment.
type EnvironmentRole string

// The roles that can be given (Modal's Python client v1.5.4, cli/environment.py).
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

// roleOf is the entry's role, in Modal's text when it is none of ours.
func roleOf(entry *pb.ServiceUser_EnvironmentRoleEntry) EnvironmentRole {
	number := entry.GetRole()
	if number == pb.EnvironmentRole_ENVIRONMENT_ROLE_UNSPECIFIED {
		return EnvironmentRole(entry.GetRoleStr())
	}
	for role, known := range roleNumbers {
		if number == known {
			return role
		}
	}
	return EnvironmentRole(cmp.Or(entry.GetRoleStr(), number.String()))
}

// SetEnvironmentRole gives the service user a role in the environment of that name, in place of the
// one it has there (EnvironmentRoleSet). Its errors are *Error and name the environment;
// KindNotFound when it or the service user does not exist. What would mean something else to Modal,
// an empty ID or name or a role of another text, is not sent and is no *Error.
func (c *Client) SetEnvironmentRole(ctx context.Context, admin Token, serviceUserID, environment string, role EnvironmentRole) error {
	number, known := roleNumbers[role]
	switch {
	case serviceUserID == "":
		return errors.New("setting an environment role: the service user's ID is missing")
	case environment == "":
		return errors.New("setting an environment role: the environment's name is missing")
	case !known:
		return fmt.Errorf("setting the role in environment %q: %q is no role: give viewer, contributor or no-access", environment, role)
	}
	ctx, err := as(ctx, admin)
	if err != nil {
		return err
	}
	_, err = c.stub.EnvironmentRoleSet(ctx, pb.EnvironmentRoleSetRequest_builder{
		ServiceUserId: serviceUserID, EnvironmentName: environment, Role: number,
	}.Build())
	return inEnvironment(environment, err)
}

// inEnvironment names the environment in the error of a call about it.
func inEnvironment(environment string, err error) error {
	var failure *Error
	if !errors.As(err, &failure) {
		return err
	}
	// Modal's mock (Modal's Python client v1.5.4, test/conftest.py) has INVALID_ARGUMENT for an
	// unknown environment; the rest of the request is ours and Modal's own.
	if failure.Kind == KindInvalid {
		failure.Kind = KindNotFound
	}
	text := fmt.Sprintf("environment %q", environment)
	if failure.Message != "" {
		text += ": " + failure.Message
	}
	failure.Message = text
	return failure
}

// Environments returns the names of the environments that t may see, sorted (EnvironmentList). Its
// errors are *Error.
func (c *Client) Environments(ctx context.Context, t Token) ([]string, error) {
	ctx, err := as(ctx, t)
	if err != nil {
		return nil, err
	}
	answer, err := c.stub.EnvironmentList(ctx, &emptypb.Empty{})
	if err != nil {
		return nil, err
	}
	names := make([]string, len(answer.GetItems()))
	for i, item := range answer.GetItems() {
		names[i] = item.GetName()
	}
	slices.Sort(names)
	return names, nil
}
