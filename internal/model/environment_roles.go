// SPDX-License-Identifier: MPL-2.0

package model

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// WantedRoles returns the roles that a service user should have, given the roles that it has.
type WantedRoles func(has map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole

// Exactly wants these roles and no others.
func Exactly(wanted map[string]modalapi.EnvironmentRole) WantedRoles {
	return func(map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole { return wanted }
}

// AtMost reduces each role to the wanted role, and never raises a role.
func AtMost(wanted map[string]modalapi.EnvironmentRole) WantedRoles {
	return func(has map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole {
		less := map[string]modalapi.EnvironmentRole{}
		for environment := range has {
			less[environment] = lesser(RoleIn(has, environment), RoleIn(wanted, environment))
		}
		return less
	}
}

// Rank returns a role's place in the order of rights. A role that the engine does not know ranks highest.
func Rank(role modalapi.EnvironmentRole) int {
	order := []modalapi.EnvironmentRole{modalapi.RoleNoAccess, modalapi.RoleViewer, modalapi.RoleContributor}
	if at := slices.Index(order, role); at >= 0 {
		return at
	}
	return len(order)
}

// lesser returns the role with fewer rights.
func lesser(a, b modalapi.EnvironmentRole) modalapi.EnvironmentRole {
	if Rank(a) < Rank(b) {
		return a
	}
	return b
}

// RoleChange is a change of a service user's environment roles.
type RoleChange struct {
	// Want returns the roles that the service user should have.
	Want WantedRoles
	// Always lists environments whose role is set even if Modal reports the wanted role. Modal's answer may be out of
	// date.
	Always map[string]bool
	// Back returns the roles to restore if the change fails half-way. If Back is nil, the finished part stays.
	Back WantedRoles
}

// AllOf returns the environments of a set of roles.
func AllOf(roles map[string]modalapi.EnvironmentRole) map[string]bool {
	return ChangedIn(nil, roles)
}

// ChangedIn returns the environments in which two sets of roles differ.
func ChangedIn(before, after map[string]modalapi.EnvironmentRole) map[string]bool {
	changed := map[string]bool{}
	for _, roles := range []map[string]modalapi.EnvironmentRole{before, after} {
		for environment := range roles {
			if RoleIn(before, environment) != RoleIn(after, environment) {
				changed[environment] = true
			}
		}
	}
	return changed
}

// LostIn returns the environments in which a role lost rights.
func LostIn(before, after map[string]modalapi.EnvironmentRole) map[string]bool {
	lost := ChangedIn(before, after)
	maps.DeleteFunc(lost, func(environment string, _ bool) bool {
		return Rank(RoleIn(after, environment)) > Rank(RoleIn(before, environment))
	})
	return lost
}

// Pending returns the roles to set, given the roles that Modal reports.
func (c RoleChange) Pending(has map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole {
	wanted, pending := c.Want(has), map[string]modalapi.EnvironmentRole{}
	for environment := range ChangedIn(has, wanted) {
		pending[environment] = RoleIn(wanted, environment)
	}
	for environment := range c.Always {
		pending[environment] = RoleIn(wanted, environment)
	}
	return pending
}

// RoleIn returns the role in an environment. An environment that is not named has no access.
func RoleIn(roles map[string]modalapi.EnvironmentRole, environment string) modalapi.EnvironmentRole {
	return cmp.Or(roles[environment], modalapi.RoleNoAccess)
}

// RolesText returns environment roles as text, sorted by environment. It leaves out environments without access.
func RolesText(roles map[string]modalapi.EnvironmentRole) string {
	var parts []string
	for _, environment := range slices.Sorted(maps.Keys(roles)) {
		if roles[environment] != modalapi.RoleNoAccess {
			parts = append(parts, environment+"="+string(roles[environment]))
		}
	}
	if parts == nil {
		return "none"
	}
	return strings.Join(parts, ",")
}
