// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"cmp"
	"context"
	"maps"
	"slices"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
)

// custom is ENVIRONMENT_ROLE_CUSTOM, which the generated stubs lack (Modal's Python client 1.6.4, api.proto).
const custom pb.EnvironmentRole = 5

// CustomRole is a role for environments that a workspace has defined.
type CustomRole struct {
	ID string
	// Permissions are Modal's texts. Modal does not document them.
	Permissions []string
}

// CustomRoles returns the custom roles that somebody can get in the environment with that ID, sorted by ID
// (EnvironmentGetRoles). The engine gives no custom role: only tools/acceptance calls CustomRoles, because the meaning of
// the permissions is not known. It returns an *Error.
func (c *Client) CustomRoles(ctx context.Context, t Token, environmentID string) ([]CustomRole, error) {
	ctx, err := withToken(ctx, t)
	if err != nil {
		return nil, err
	}
	clean := newRedactor(t.Secret)
	found := map[string]CustomRole{}
	principals := list{what: "members and service users", field: 3, most: maxMembers + maxServiceUsers, limit: maxList, clean: clean}
	request := pb.EnvironmentGetRolesRequest_builder{EnvironmentId: environmentID}.Build()
	_, err = listOf(ctx, c, pb.ModalClient_EnvironmentGetRoles_FullMethodName, request, principals, func(entry []byte) (struct{}, error) {
		return struct{}{}, eachField(entry, func(field int, v value) error {
			if field != 14 { // choosable_role_definitions
				return nil
			}
			return clean.customRole(v.bytes, found)
		})
	})
	if err != nil {
		return nil, err
	}
	return slices.SortedFunc(maps.Values(found), func(a, b CustomRole) int { return cmp.Compare(a.ID, b.ID) }), nil
}

// customRole adds a role to the roles that were found before. Every principal has the same roles.
func (r *redactor) customRole(definition []byte, found map[string]CustomRole) error {
	var role CustomRole
	err := eachField(definition, func(field int, v value) error {
		switch field {
		case 1: // environment_role_definition_id
			role.ID = r.id(r.text(v))
		case 4: // permissions
			role.Permissions = append(role.Permissions, r.repeatedName(v))
			return checkCount("permissions of one role", len(role.Permissions), maxPermissions)
		}
		return nil
	})
	if err != nil || role.ID == "" {
		return err
	}
	if _, known := found[role.ID]; !known {
		found[role.ID] = role
		r.kept += roleSize + textSize*len(role.Permissions)
	}
	return checkCount("custom roles", len(found), maxCustomRoles)
}
