// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/model"
)

// effects warns of the roles and tokens that no longer work after a write of config. If the write changed a limit,
// effects names all roles beyond the limits. If the write changed the admin token, it names everything that the admin
// token cannot manage.
func (cs *Configs) effects(ctx context.Context, before, after *model.Config) (warnings []string) {
	limits, admin := after.HasOtherLimits(before), after.HasOtherAdmin(before)
	if !limits && !admin {
		return nil
	}
	rotations, _, err := cs.mount.Rotations(ctx)
	if err != nil {
		return []string{fmt.Sprintf("the write was stored, but the roles cannot be read, so the engine cannot say which of them no longer work: %s", err)}
	}
	if limits {
		warnings = cs.rolesBeyondLimits(ctx, after, rotations)
	}
	if admin {
		warnings = append(warnings, cs.leftWithoutAdmin(ctx, before, after, rotations)...)
	}
	return warnings
}

// rolesBeyondLimits names the roles that ask for more than config allows. A dynamic role gets its own warning, with
// the number of its running leases.
func (cs *Configs) rolesBeyondLimits(ctx context.Context, cfg *model.Config, rotations []*model.Rotation) (warnings []string) {
	var managed, dynamic []string
	for _, r := range rotations {
		switch {
		case r.Role.Access() == nil || cfg.CheckRole(r.Role) == nil:
		case r.Role.Dynamic != nil:
			dynamic = append(dynamic, r.Name)
		default:
			managed = append(managed, r.Name)
		}
	}
	if len(managed) > 0 {
		warnings = append(warnings, fmt.Sprintf("these managed roles ask for more than config allows (%s), so they keep their current tokens but can no longer rotate: %s; "+
			"narrow each with: %s", cfg.LimitsText(), model.ListNames(managed), cs.mount.Commands().Narrow("<role>")))
	}
	for _, name := range dynamic[:min(len(dynamic), model.MaxNamedRoles)] {
		warnings = append(warnings, cs.leasesBeyondLimits(ctx, cfg, name))
	}
	if len(dynamic) > model.MaxNamedRoles {
		warnings = append(warnings, fmt.Sprintf("%d more dynamic roles also ask for more than config allows: %s", len(dynamic)-model.MaxNamedRoles, model.ListNames(dynamic[model.MaxNamedRoles:])))
	}
	return warnings
}

// leasesBeyondLimits tells what happens to a dynamic role that asks for more than config allows.
func (cs *Configs) leasesBeyondLimits(ctx context.Context, cfg *model.Config, name string) string {
	warning := fmt.Sprintf("role %s asks for more than config allows (%s): its reads are refused until you narrow the role with: %s",
		name, cfg.LimitsText(), cs.mount.Commands().Narrow(name))
	leases, err := cs.mount.LeasesOf(ctx, name)
	if err != nil {
		return fmt.Sprintf("%s; its leases cannot be counted: %s", warning, err)
	}
	running := 0
	for _, lease := range leases {
		if lease.IsRunningLease(cs.mount.Now()) && cfg.CheckAccess(&lease.Rights) != nil {
			running++
		}
	}
	if running == 0 {
		return warning
	}
	return fmt.Sprintf("%s; running leases that keep their rights and are not renewed until then: %d; end them now with: %s", warning, running, cs.mount.Commands().RevokeLeases(name))
}

// leftWithoutAdmin names the roles and tokens that the admin token of the new config cannot manage.
func (cs *Configs) leftWithoutAdmin(ctx context.Context, before, after *model.Config, rotations []*model.Rotation) (warnings []string) {
	var away, unreadable, stuck []string
	for _, r := range rotations {
		switch {
		case r.Role.Managed != nil && !after.Manages(r.Cred.Token):
			away = append(away, r.Name)
		case r.Role.Dynamic != nil && !after.HasUsableAdmin():
			unreadable = append(unreadable, r.Name)
		}
	}
	entries, _, err := cs.mount.AllRevocations(ctx)
	if err != nil {
		warnings = []string{fmt.Sprintf("the write was stored, but the revocation queue cannot be read, so the engine cannot say which of its tokens it can no longer revoke: %s", err)}
	}
	for _, entry := range entries {
		if (entry.ServiceUserName() != "" && entry.CanDelete() && !after.Manages(entry.Token)) || after.LosesReach(before, entry.Token) {
			stuck = append(stuck, entry.Key())
		}
	}
	bring := "bring an admin token of their workspace and server: " + cs.mount.Commands().WriteAdmin()
	if len(away) > 0 {
		warnings = append(warnings, fmt.Sprintf("these roles keep their current tokens but can no longer rotate, because the admin token in config cannot manage them (%s): %s; %s",
			after.AdminFlaw(), model.ListNames(away), bring))
	}
	if len(unreadable) > 0 {
		warnings = append(warnings, fmt.Sprintf("reads of these dynamic roles are refused, because the admin token in config cannot create service users (%s): %s; %s",
			after.AdminFlaw(), model.ListNames(unreadable), bring))
	}
	if len(stuck) > 0 {
		warnings = append(warnings, fmt.Sprintf("the engine can no longer revoke these tokens in the revocation queue: %s; %s", model.ListNames(stuck), bring))
	}
	return warnings
}
