// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// maxToldBroken is how many roles or tokens a warning names, and how many roles have a warning of their own.
const maxToldBroken = 10

// manages reports whether the engine can create and delete service users in the token's workspace.
func (c *Config) manages(t Token) bool {
	return c.usableAdmin() && c.reaches(t) == nil
}

// usableAdmin reports whether the admin token can create service users.
func (c *Config) usableAdmin() bool {
	return c.Admin != nil && c.Admin.Verified() && c.Limitation == ""
}

// cannotAsk reports whether the token's own server is only reached with a CA that config no longer has.
func (c *Config) cannotAsk(before *Config, t Token) bool {
	return before.CACert != "" && before.serves(t) && !c.serves(t)
}

// otherLimits reports whether a write changed what roles may ask for.
func (c *Config) otherLimits(before *Config) bool {
	return c.MaxEnvironmentRole != before.MaxEnvironmentRole || !slices.Equal(c.AllowedEnvironments, before.AllowedEnvironments)
}

// otherAdmin reports whether a write changed which service users the engine can manage.
func (c *Config) otherAdmin(before *Config) bool {
	return !c.like(before) || c.adminID() != before.adminID() || c.Limitation != before.Limitation
}

// broken names the roles and tokens that cannot go on after a write. If the write changed a limit, broken names all
// roles beyond the limits. If the write changed the admin token, broken names all that the admin token cannot manage.
func (e *Engine) broken(ctx context.Context, before, after *Config) (warnings []string) {
	limits, admin := after.otherLimits(before), after.otherAdmin(before)
	if !limits && !admin {
		return nil
	}
	rotations, _, err := e.Rotations(ctx)
	if err != nil {
		return []string{fmt.Sprintf("the roles cannot be read, to say which of them this breaks: %s", err)}
	}
	if limits {
		warnings = e.beyondLimits(ctx, after, rotations)
	}
	if admin {
		warnings = append(warnings, e.withoutAdmin(ctx, before, after, rotations)...)
	}
	return warnings
}

// beyondLimits names the roles that ask for more than config allows. A dynamic role has a warning of its own, with
// the number of its living leases.
func (e *Engine) beyondLimits(ctx context.Context, cfg *Config, rotations []*Rotation) (warnings []string) {
	var managed, dynamic []string
	for _, r := range rotations {
		switch {
		case r.Role.access() == nil || cfg.permits(r.Role) == nil:
		case r.Role.Dynamic != nil:
			dynamic = append(dynamic, r.Name)
		default:
			managed = append(managed, r.Name)
		}
	}
	if len(managed) > 0 {
		warnings = append(warnings, fmt.Sprintf("roles that ask for more than config allows (%s), so that they keep their tokens and can no longer rotate: %s; "+
			"narrow each with: vault write %sroles/<role> environment_roles=…", cfg.ceilings(), bounded(managed), e.mount()))
	}
	for _, name := range dynamic[:min(len(dynamic), maxToldBroken)] {
		warnings = append(warnings, e.leasesBeyond(ctx, cfg, name))
	}
	if len(dynamic) > maxToldBroken {
		warnings = append(warnings, fmt.Sprintf("so do %d more dynamic roles: %s", len(dynamic)-maxToldBroken, bounded(dynamic[maxToldBroken:])))
	}
	return warnings
}

// leasesBeyond tells how the limits of config stop a dynamic role that asks for more.
func (e *Engine) leasesBeyond(ctx context.Context, cfg *Config, name string) string {
	told := fmt.Sprintf("role %s asks for more than config allows (%s): its next read is refused until the role is narrowed: vault write %sroles/%s environment_roles=…",
		name, cfg.ceilings(), e.mount(), name)
	leases, err := e.leasesOf(ctx, name)
	if err != nil {
		return fmt.Sprintf("%s; its leases cannot be counted: %s", told, err)
	}
	living := 0
	for _, lease := range leases {
		if lease.runs(e.Now()) && cfg.allows(&lease.Rights) != nil {
			living++
		}
	}
	if living == 0 {
		return told
	}
	return fmt.Sprintf("%s; living leases that keep their rights: %d, which are not renewed until then; end them now with: %s", told, living, e.Commands().RevokeLeases(name))
}

// withoutAdmin names the roles and tokens that the admin token of a config cannot manage.
func (e *Engine) withoutAdmin(ctx context.Context, before, after *Config, rotations []*Rotation) (warnings []string) {
	var away, unreadable, stuck []string
	for _, r := range rotations {
		switch {
		case r.Role.Managed != nil && !after.manages(r.Cred.Token):
			away = append(away, r.Name)
		case r.Role.Dynamic != nil && !after.usableAdmin():
			unreadable = append(unreadable, r.Name)
		}
	}
	entries, _, err := e.Ledger(ctx)
	if err != nil {
		warnings = []string{fmt.Sprintf("the revocation queue cannot be read, to say which of its tokens this breaks: %s", err)}
	}
	for _, entry := range entries {
		if (entry.serviceUser() != "" && entry.ours() && !after.manages(entry.Token)) || after.cannotAsk(before, entry.Token) {
			stuck = append(stuck, entry.Key())
		}
	}
	bring := "bring an admin token of their workspace and server: " + e.writeAdmin()
	if len(away) > 0 {
		warnings = append(warnings, fmt.Sprintf("roles that keep their tokens and can no longer rotate, as the admin token in config cannot manage them (%s): %s; %s",
			after.adminState(), bounded(away), bring))
	}
	if len(unreadable) > 0 {
		warnings = append(warnings, fmt.Sprintf("dynamic roles whose reads are refused, as the admin token in config cannot create service users (%s): %s; %s",
			after.adminState(), bounded(unreadable), bring))
	}
	if len(stuck) > 0 {
		warnings = append(warnings, fmt.Sprintf("tokens in the revocation queue that the engine can no longer revoke: %s; %s", bounded(stuck), bring))
	}
	return warnings
}

// adminState names the flaw of the admin token, for a reader.
func (c *Config) adminState() string {
	switch {
	case c.Admin == nil:
		return "there is none"
	case !c.Admin.Verified():
		return "it was stored unverified"
	case c.Limitation != "":
		return c.Limitation
	}
	return "it is of another workspace or server"
}

// bounded is a list of names that is not too long to read.
func bounded(names []string) string {
	if more := len(names) - maxToldBroken; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:maxToldBroken], ", "), more)
	}
	return strings.Join(names, ", ")
}
