// SPDX-License-Identifier: MPL-2.0

package model

import "vault-plugin-secrets-modal/internal/modalapi"

// Access holds the rights of a role's service users.
type Access struct {
	// EnvironmentRoles maps the name of an environment to the service user's role there.
	EnvironmentRoles map[string]modalapi.EnvironmentRole `json:"environment_roles,omitempty"`
	// Scoped limits the service user to EnvironmentRoles. Without it, the workspace's defaults apply in other
	// environments.
	Scoped bool `json:"scoped"`
}

// Access returns the rights of the role's service users. It is nil for a static role, which has no service users.
func (r *Role) Access() *Access {
	switch {
	case r.Managed != nil:
		return &r.Managed.Access
	case r.Dynamic != nil:
		return &r.Dynamic.Access
	}
	return nil
}

func (a *Access) merge(ask AccessWrite) {
	a.EnvironmentRoles = ask.EnvironmentRoles.Apply(a.EnvironmentRoles, nil)
	a.Scoped = ask.Scoped.Apply(a.Scoped, true)
}

func (a *Access) validate(environment string) error {
	if len(a.EnvironmentRoles) == 0 && a.Scoped {
		return UserErrorf("environment_roles is empty, so a scoped token could do nothing: write, for example, environment_roles=main=contributor; nothing was changed")
	}
	if _, can := a.EnvironmentRoles[environment]; environment != "" && a.Scoped && !can {
		return UserErrorf("environment %s is not among environment_roles (%s), so the token could do nothing there: write another environment; nothing was changed",
			environment, RolesText(a.EnvironmentRoles))
	}
	return nil
}

// Within reports whether the access allows no more than most does.
func (a *Access) Within(most *Access) bool {
	if most.Scoped && !a.Scoped {
		return false
	}
	for environment, role := range a.EnvironmentRoles {
		if lesser(role, RoleIn(most.EnvironmentRoles, environment)) != role {
			return false
		}
	}
	return true
}

func (a *Access) warnings() []string {
	if a.Scoped {
		return nil
	}
	return []string{"scoped=false lets the token act outside environment_roles, wherever the workspace's defaults allow it"}
}
