// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/model"
)

// effects names the roles and tokens that cannot go on after a write. If the write changed a limit, broken names all
// roles beyond the limits. If the write changed the admin token, broken names all that the admin token cannot manage.
func (cs *Configs) effects(ctx context.Context, before, after *model.Config) (warnings []string) {
	limits, admin := after.HasOtherLimits(before), after.HasOtherAdmin(before)
	if !limits && !admin {
		return nil
	}
	rotations, _, err := cs.mount.Rotations(ctx)
	if err != nil {
		return []string{fmt.Sprintf("the roles cannot be read, to say which of them this breaks: %s", err)}
	}
	if limits {
		warnings = cs.rolesBeyondLimits(ctx, after, rotations)
	}
	if admin {
		warnings = append(warnings, cs.leftWithoutAdmin(ctx, before, after, rotations)...)
	}
	return warnings
}

// rolesBeyondLimits names the roles that ask for more than config allows. A dynamic role has a warning of its own, with
// the number of its living leases.
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
		warnings = append(warnings, fmt.Sprintf("roles that ask for more than config allows (%s), so that they keep their tokens and can no longer rotate: %s; "+
			"narrow each with: vault write %sroles/<role> environment_roles=…", cfg.LimitsText(), model.ListNames(managed), cs.mount.CommandPrefix()))
	}
	for _, name := range dynamic[:min(len(dynamic), model.MaxNamedRoles)] {
		warnings = append(warnings, cs.leasesBeyondLimits(ctx, cfg, name))
	}
	if len(dynamic) > model.MaxNamedRoles {
		warnings = append(warnings, fmt.Sprintf("so do %d more dynamic roles: %s", len(dynamic)-model.MaxNamedRoles, model.ListNames(dynamic[model.MaxNamedRoles:])))
	}
	return warnings
}

// leasesBeyondLimits tells how the limits of config stop a dynamic role that asks for more.
func (cs *Configs) leasesBeyondLimits(ctx context.Context, cfg *model.Config, name string) string {
	told := fmt.Sprintf("role %s asks for more than config allows (%s): its next read is refused until the role is narrowed: vault write %sroles/%s environment_roles=…",
		name, cfg.LimitsText(), cs.mount.CommandPrefix(), name)
	leases, err := cs.mount.LeasesOf(ctx, name)
	if err != nil {
		return fmt.Sprintf("%s; its leases cannot be counted: %s", told, err)
	}
	living := 0
	for _, lease := range leases {
		if lease.IsRunningLease(cs.mount.Now()) && cfg.CheckAccess(&lease.Rights) != nil {
			living++
		}
	}
	if living == 0 {
		return told
	}
	return fmt.Sprintf("%s; living leases that keep their rights: %d, which are not renewed until then; end them now with: %s", told, living, cs.mount.Commands().RevokeLeases(name))
}

// leftWithoutAdmin names the roles and tokens that the admin token of a config cannot manage.
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
	entries, _, err := cs.mount.Revocations(ctx)
	if err != nil {
		warnings = []string{fmt.Sprintf("the revocation queue cannot be read, to say which of its tokens this breaks: %s", err)}
	}
	for _, entry := range entries {
		if (entry.ServiceUserName() != "" && entry.CanDelete() && !after.Manages(entry.Token)) || after.LosesReach(before, entry.Token) {
			stuck = append(stuck, entry.Key())
		}
	}
	bring := "bring an admin token of their workspace and server: " + cs.mount.WriteAdmin()
	if len(away) > 0 {
		warnings = append(warnings, fmt.Sprintf("roles that keep their tokens and can no longer rotate, as the admin token in config cannot manage them (%s): %s; %s",
			after.AdminFlaw(), model.ListNames(away), bring))
	}
	if len(unreadable) > 0 {
		warnings = append(warnings, fmt.Sprintf("dynamic roles whose reads are refused, as the admin token in config cannot create service users (%s): %s; %s",
			after.AdminFlaw(), model.ListNames(unreadable), bring))
	}
	if len(stuck) > 0 {
		warnings = append(warnings, fmt.Sprintf("tokens in the revocation queue that the engine can no longer revoke: %s; %s", model.ListNames(stuck), bring))
	}
	return warnings
}
