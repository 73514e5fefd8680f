// SPDX-License-Identifier: MPL-2.0

package model

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// WantedRoles is what a service user should be able to do, given what it can.
type WantedRoles func(has map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole

// Exactly wants these roles and no other.
func Exactly(wanted map[string]modalapi.EnvironmentRole) WantedRoles {
	return func(map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole { return wanted }
}

// AtMost takes away what is not wanted, and gives nothing.
func AtMost(wanted map[string]modalapi.EnvironmentRole) WantedRoles {
	return func(has map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole {
		less := map[string]modalapi.EnvironmentRole{}
		for environment := range has {
			less[environment] = lesser(RoleIn(has, environment), RoleIn(wanted, environment))
		}
		return less
	}
}

// Rank orders roles by their rights. A role that the engine does not know counts as the highest.
func Rank(role modalapi.EnvironmentRole) int {
	order := []modalapi.EnvironmentRole{modalapi.RoleNoAccess, modalapi.RoleViewer, modalapi.RoleContributor}
	if at := slices.Index(order, role); at >= 0 {
		return at
	}
	return len(order)
}

// lesser is the role with fewer rights.
func lesser(a, b modalapi.EnvironmentRole) modalapi.EnvironmentRole {
	if Rank(a) < Rank(b) {
		return a
	}
	return b
}

// RoleChange is a change of the rights of a living service user.
type RoleChange struct {
	Want WantedRoles
	// always are environments that the change sets whatever Modal reports: Modal's answer may be out of date.
	Always map[string]bool
	// back are the rights to return to if the change fails half-way. Nil keeps the part that was done.
	Back WantedRoles
}

// AllOf are the environments of a set of roles.
func AllOf(roles map[string]modalapi.EnvironmentRole) map[string]bool {
	return ChangedIn(nil, roles)
}

// ChangedIn are the environments in which two sets of roles differ.
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

// LostIn are the environments in which a role lost rights.
func LostIn(before, after map[string]modalapi.EnvironmentRole) map[string]bool {
	lost := ChangedIn(before, after)
	maps.DeleteFunc(lost, func(environment string, _ bool) bool {
		return Rank(RoleIn(after, environment)) > Rank(RoleIn(before, environment))
	})
	return lost
}

// Pending are the roles to set, given the roles that Modal reports.
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

// RoleIn is the role in an environment; one that is not named has none.
func RoleIn(roles map[string]modalapi.EnvironmentRole, environment string) modalapi.EnvironmentRole {
	return cmp.Or(roles[environment], modalapi.RoleNoAccess)
}

// RolesText is a set of environment roles in one order, without those that give nothing.
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
