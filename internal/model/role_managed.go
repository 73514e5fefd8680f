// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/duration"
)

// Limits of a managed role's fields.
const (
	MinTokenTTL = 10 * time.Minute
	MaxTokenTTL = MaxRotationPeriod
	// MinRotationWindow is Vault's own minimum for scheduled rotations.
	MinRotationWindow = time.Hour
	MaxRotationWindow = Day

	MaxSchedule = 256

	MinHold = time.Minute
	MaxHold = 90 * Day
)

// ManagedPolicy holds the fields of a managed role: the rights of its service users, and when the engine replaces
// them.
type ManagedPolicy struct {
	Access

	// TokenTTL is how long a token is valid at Modal. Zero means no expiry.
	TokenTTL time.Duration `json:"token_ttl,omitempty"`
	// Schedule is a five-field cron expression in UTC. Without a schedule the role's rotation period applies.
	Schedule string `json:"rotation_schedule,omitempty"`
	// Window is how long after a scheduled time a rotation may begin. Zero means no limit.
	Window time.Duration `json:"rotation_window,omitempty"`
	// Disabled says that the engine does not rotate the role by itself.
	Disabled bool `json:"disable_automated_rotation,omitempty"`
	// Hold is how much longer than its grace period a previous token may live while Modal reports that it is used.
	Hold time.Duration `json:"hold_while_used,omitempty"`
}

func (r *Role) mergeManaged(ask RoleWrite) {
	policy := ManagedPolicy{Access: Access{Scoped: true}}
	if r.Managed != nil {
		policy = *r.Managed
	}
	policy.Access.merge(ask.Access)
	policy.merge(ask.Managed)
	if policy.mergeSchedule(ask) {
		r.RotationPeriod = defaultRotationPeriod
	}
	r.Managed = &policy
}

func (p *ManagedPolicy) merge(ask ManagedWrite) {
	p.Disabled = ask.Disabled.Apply(p.Disabled, false)
	p.TokenTTL = ask.TokenTTL.Apply(p.TokenTTL, 0)
	p.Window = ask.Window.Apply(p.Window, 0)
	p.Hold = ask.Hold.Apply(p.Hold, 0)
}

// mergeSchedule merges the schedule. A new schedule replaces the rotation period, and a new period replaces the
// schedule. A window is removed with its schedule, unless the write sets a window. The result reports whether the
// write sets a schedule.
func (p *ManagedPolicy) mergeSchedule(ask RoleWrite) (setsSchedule bool) {
	before, schedule, period := p.Schedule, ask.Managed.Schedule, ask.RotationPeriod
	p.Schedule = schedule.Apply(p.Schedule, "")
	if period.Set && !period.Reset && !schedule.Set {
		p.Schedule = ""
	}
	if before != "" && p.Schedule == "" && !ask.Managed.Window.Set {
		p.Window = 0
	}
	return schedule.Set && p.Schedule != ""
}

func (p *ManagedPolicy) validate(r *Role) error {
	if err := p.Access.validate(r.Environment); err != nil {
		return err
	}
	if p.Schedule == "" && p.Window != 0 {
		return UserErrorf("rotation_window needs a rotation_schedule: write both, or neither; nothing was changed")
	}
	return nil
}

func (p *ManagedPolicy) warnings(r *Role) []string {
	var warnings []string
	if p.TokenTTL != 0 && p.TokenTTL < r.RotationPeriod+r.GracePeriod && p.Schedule == "" {
		warnings = append(warnings, fmt.Sprintf("token_ttl %s is shorter than rotation_period and grace_period together: "+
			"the engine rotates before a token expires, so rotations happen more often than rotation_period says", duration.Format(p.TokenTTL)))
	}
	if p.Disabled && p.TokenTTL != 0 {
		warnings = append(warnings, "automated rotation is disabled and tokens expire: rotate by hand before the current token expires")
	}
	return append(warnings, p.Access.warnings()...)
}

// ChangesAtNextRotation names the changes that need a new service user to take effect.
func (p *ManagedPolicy) ChangesAtNextRotation(before *ManagedPolicy) []string {
	var fields []string
	if p.Scoped != before.Scoped {
		fields = append(fields, "scoped")
	}
	if p.TokenTTL != before.TokenTTL {
		fields = append(fields, "token_ttl")
	}
	if len(fields) == 0 {
		return nil
	}
	return []string{strings.Join(fields, " and ") + " takes effect at the next rotation, because Modal sets it when a service user is created"}
}

// RotatesDifferently reports whether a change of policy moves the next rotation.
func (r *Role) RotatesDifferently(before *Role) bool {
	return r.RotationPeriod != before.RotationPeriod || r.Managed.Schedule != before.Managed.Schedule ||
		r.Managed.Window != before.Managed.Window || r.Managed.Disabled != before.Managed.Disabled
}

// RightsLogPairs returns log pairs about changes of the tokens' rights.
func (r *Role) RightsLogPairs(before *Role) []any {
	access, was := r.Access(), &Access{}
	if access == nil {
		return nil
	}
	if before != nil {
		was = before.Access()
	}
	var pairs []any
	if now, then := RolesText(access.EnvironmentRoles), RolesText(was.EnvironmentRoles); now != then {
		pairs = append(pairs, "environment_roles", now, "environment_roles_before", then)
	}
	if access.Scoped != was.Scoped {
		pairs = append(pairs, "scoped", access.Scoped)
	}
	return pairs
}

// Upcoming returns the next three times of the role's schedule, or nil without a schedule.
func (r *Role) Upcoming(now time.Time) []time.Time {
	if r.Managed == nil || r.Managed.Schedule == "" {
		return nil
	}
	schedule, err := ParseScheduleField(r.Managed.Schedule)
	if err != nil {
		return nil
	}
	return firings(schedule, now, 3)
}
