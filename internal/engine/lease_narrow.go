// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// narrowBudget bounds the time that a write of a dynamic role spends at Modal.
const narrowBudget = 30 * time.Second

// errUnscoped says why a living lease stays unscoped.
var errUnscoped = Refusef("its service user has scoped=false, which Modal sets only when it creates a service user")

// exceeds reports whether the service user of a living lease may do more than most allows.
func (r *Revocation) exceeds(most *Access) bool {
	return r.Reason == reasonLease && !r.Begun && !r.Rights.within(most)
}

// narrowLeases narrows the living leases of a role to most, as far as the time of one request goes. The warnings count
// the leases that keep more.
func (e *Engine) narrowLeases(ctx context.Context, cfg *Config, name string, most *Access) (warnings []string) {
	leases, err := e.leasesOf(ctx, name)
	if err != nil {
		return []string{fmt.Sprintf("the leases of role %s cannot be listed (%s), so they keep the rights that they have: %s", name, err, e.narrowAgain(name))}
	}
	var beyond []string
	for _, entry := range leases {
		if entry.exceeds(most) {
			beyond = append(beyond, entry.Key())
		}
	}
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), narrowBudget)
	defer cancel()
	failures := make([]error, len(beyond))
	eachOf(beyond, maxConcurrentChecks, func(i int, id string) {
		e.deps.Stagger(i)
		if failures[i] = brief.Err(); failures[i] == nil {
			failures[i] = e.narrowLease(brief, cfg, id, most)
		}
	})
	return e.keptRights(name, failures)
}

// keptRights counts the leases that could not be narrowed.
func (e *Engine) keptRights(name string, failures []error) (warnings []string) {
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
		warnings = append(warnings, fmt.Sprintf("living leases of role %s that stay scoped=false, which Modal sets only when it creates a service user: %d; "+
			"they are not renewed; end all leases of the role with: %s", name, unscoped, e.Commands().RevokeLeases(name)))
	}
	if kept > 0 {
		warnings = append(warnings, fmt.Sprintf("living leases of role %s that keep more rights than the role allows now: %d (%s); %s", name, kept, why, e.narrowAgain(name)))
	}
	return warnings
}

// narrowAgain names the two ways to go on after a lease could not be narrowed.
func (e *Engine) narrowAgain(name string) string {
	return "write environment_roles again, or end all leases of the role with: " + e.Commands().RevokeLeases(name)
}

// narrowLease takes from the service user of one lease all rights beyond most. The entry keeps the old rights until
// Modal has changed the service user. A lease that has ended, or is ending, has nothing to lose.
func (e *Engine) narrowLease(ctx context.Context, cfg *Config, id string, most *Access) error {
	unlock, err := e.lockLease(ctx, id)
	if err != nil {
		return err
	}
	defer unlock()
	entry, err := e.revocations.Get(ctx, id)
	if err != nil || entry == nil || !entry.exceeds(most) {
		return err
	}
	after, less := *entry, atMost(most.EnvironmentRoles)
	after.Rights.EnvironmentRoles = less(entry.Rights.EnvironmentRoles)
	if lost := lostIn(entry.Rights.EnvironmentRoles, after.Rights.EnvironmentRoles); len(lost) > 0 {
		// Modal's report may be out of date, so the environments that lose rights are set whatever it says.
		_, err = e.change(ctx, cfg, entry.Token, roleChange{always: lost, want: func(has map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole {
			wanted := less(has)
			for environment := range lost {
				wanted[environment] = roleIn(after.Rights.EnvironmentRoles, environment)
			}
			return wanted
		}})
		if gone := (*goneError)(nil); errors.As(err, &gone) {
			return nil
		}
		if err != nil {
			return err
		}
		if err = e.revocations.Put(ctx, id, &after); err != nil {
			return err
		}
		e.log().Info("lease narrowed", "role", entry.Role, "token_id", entry.ID, "environment_roles", rolesText(after.Rights.EnvironmentRoles))
	}
	if after.exceeds(most) {
		return errUnscoped
	}
	return nil
}

// narrowToRole narrows one lease to the present rights of its role. A role that was deleted takes nothing away.
func (e *Engine) narrowToRole(ctx context.Context, cfg *Config, id string) error {
	entry, err := e.revocations.Get(ctx, id)
	if err != nil || entry == nil {
		return err
	}
	r, err := e.roles.Get(ctx, entry.Role)
	if err != nil || r == nil || r.Dynamic == nil || !entry.isOfGeneration(r) || !entry.exceeds(r.access()) {
		return err
	}
	brief, cancel := context.WithTimeout(ctx, briefBudget)
	defer cancel()
	return e.narrowLease(brief, cfg, id, r.access())
}
