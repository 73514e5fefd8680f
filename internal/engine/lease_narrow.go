// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// narrowBudget limits the time that a write of a dynamic role spends at Modal.
const narrowBudget = 30 * time.Second

// errUnscoped says why the service user of a running lease cannot become scoped.
var errUnscoped = model.UserErrorf("its service user has scoped=false, which Modal sets only when it creates a service user")

// Narrow reduces the rights of a role's running leases to most, within a time limit. The warnings count the leases
// that keep more rights.
func (ls *Leases) Narrow(ctx context.Context, cfg *model.Config, name string, most *model.Access) (warnings []string) {
	leases, err := ls.mount.LeasesOf(ctx, name)
	if err != nil {
		return []string{fmt.Sprintf("the leases of role %s cannot be listed (%s), so they keep their present rights: %s", name, err, ls.narrowAgain(name))}
	}
	var beyond []string
	for _, entry := range leases {
		if entry.Exceeds(most) {
			beyond = append(beyond, entry.Key())
		}
	}
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), narrowBudget)
	defer cancel()
	failures := make([]error, len(beyond))
	ls.mount.Each(beyond, state.MaxConcurrentChecks, func(i int, id string) {
		if failures[i] = brief.Err(); failures[i] == nil {
			failures[i] = ls.narrowOne(brief, cfg, id, most)
		}
	})
	return ls.keptRights(name, failures)
}

// keptRights returns warnings that count the leases that could not be narrowed.
func (ls *Leases) keptRights(name string, failures []error) (warnings []string) {
	var unscoped, kept int
	var why error
	for _, failed := range failures {
		switch {
		case errors.Is(failed, errUnscoped):
			unscoped++
		case failed != nil:
			kept++
			why = cmp.Or(why, failed)
		}
	}
	if unscoped > 0 {
		warnings = append(warnings, fmt.Sprintf("running leases of role %s that stay scoped=false, because Modal sets scoped only when it creates a service user: %d; "+
			"they are not renewed; end all leases of the role with: %s", name, unscoped, ls.mount.Commands().RevokeLeases(name)))
	}
	if kept > 0 {
		warnings = append(warnings, fmt.Sprintf("running leases of role %s that keep more rights than the role now allows: %d (%s); %s", name, kept, why, ls.narrowAgain(name)))
	}
	return warnings
}

// narrowAgain tells an operator what to do after a lease could not be narrowed.
func (ls *Leases) narrowAgain(name string) string {
	return "write environment_roles again, or end all leases of the role with: " + ls.mount.Commands().RevokeLeases(name)
}

// narrowOne removes from the service user of one lease all rights beyond most. The revocation keeps the old rights
// until Modal has changed the service user. narrowOne skips a lease that has ended or is ending.
func (ls *Leases) narrowOne(ctx context.Context, cfg *model.Config, id string, most *model.Access) error {
	unlock, err := ls.mount.LockLease(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	entry, err := ls.mount.Revocations.Get(ctx, id)
	if err != nil || entry == nil || !entry.Exceeds(most) {
		return err
	}
	after, less := *entry, model.AtMost(most.EnvironmentRoles)
	after.Rights.EnvironmentRoles = less(entry.Rights.EnvironmentRoles)
	if lost := model.LostIn(entry.Rights.EnvironmentRoles, after.Rights.EnvironmentRoles); len(lost) > 0 {
		// Modal's report may be out of date, so always set the environments that lose rights.
		_, err = ls.rights.change(ctx, cfg, entry.Token, model.RoleChange{Always: lost, Want: func(has map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole {
			wanted := less(has)
			for environment := range lost {
				wanted[environment] = model.RoleIn(after.Rights.EnvironmentRoles, environment)
			}
			return wanted
		}})
		if gone := (*goneError)(nil); errors.As(err, &gone) {
			return nil
		}
		if err != nil {
			return err
		}
		if err = ls.mount.Revocations.Put(ctx, id, &after); err != nil {
			return err
		}
		ls.mount.Log().Info("lease narrowed", "role", entry.Role, "token_id", entry.ID, "environment_roles", model.RolesText(after.Rights.EnvironmentRoles))
	}
	if after.Exceeds(most) {
		return errUnscoped
	}
	return nil
}

// narrowToRole narrows one lease to the present rights of its role. If the role was deleted, the lease keeps its
// rights.
func (ls *Leases) narrowToRole(ctx context.Context, cfg *model.Config, id string) error {
	entry, err := ls.mount.Revocations.Get(ctx, id)
	if err != nil || entry == nil {
		return err
	}
	r, err := ls.mount.Roles.Get(ctx, entry.Role)
	if err != nil || r == nil || r.Dynamic == nil || !entry.IsOfGeneration(r) || !entry.Exceeds(r.Access()) {
		return err
	}
	brief, cancel := context.WithTimeout(ctx, state.BriefBudget)
	defer cancel()
	return ls.narrowOne(brief, cfg, id, r.Access())
}
