// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"strings"
	"time"
)

// Bounds of what a managed role may say.
const (
	MinTokenTTL = 10 * time.Minute
	MaxTokenTTL = MaxRotationPeriod
	// MinRotationWindow is Vault's own least window for scheduled rotations.
	MinRotationWindow = time.Hour
	MaxRotationWindow = Day

	MaxSchedule = 256

	MinHold = time.Minute
	MaxHold = 90 * Day
)

// ManagedPolicy is what a managed role says of its service users: what they may do, how long their
// tokens live, and when they are replaced. Without a Schedule the role's rotation period counts. Hold is
// how much longer than its grace period a previous token lives that Modal says is still used.
type ManagedPolicy struct {
	Access

	TokenTTL time.Duration `json:"token_ttl,omitempty"`
	Schedule string        `json:"rotation_schedule,omitempty"`
	Window   time.Duration `json:"rotation_window,omitempty"`
	Disabled bool          `json:"disable_automated_rotation,omitempty"`
	Hold     time.Duration `json:"hold_while_used,omitempty"`
}

// mergeManaged merges the fields of managed roles.
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

// mergeSchedule lets the schedule and the period take each other's place. A window goes with its
// schedule, unless the write says one.
func (p *ManagedPolicy) mergeSchedule(ask RoleWrite) (taken bool) {
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
			"the engine rotates before a token expires, so rotations come sooner than rotation_period says", FormatDuration(p.TokenTTL)))
	}
	if p.Disabled && p.TokenTTL != 0 {
		warnings = append(warnings, "automated rotation is disabled and tokens expire: rotate by hand before they do")
	}
	return append(warnings, p.Access.warnings()...)
}

// ChangesAtNextRotation tells which changes of policy need a new service user to take effect.
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
	return []string{strings.Join(fields, " and ") + " takes effect at the next rotation, as Modal sets it when a service user is made"}
}

// RotatesDifferently says whether a change of policy moves the next rotation.
func (r *Role) RotatesDifferently(before *Role) bool {
	return r.RotationPeriod != before.RotationPeriod || r.Managed.Schedule != before.Managed.Schedule ||
		r.Managed.Window != before.Managed.Window || r.Managed.Disabled != before.Managed.Disabled
}

// LogChanges are log pairs that tell what a write changed of what tokens may do.
func (r *Role) LogChanges(before *Role) []any {
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

// Upcoming are the next three firings of the role's schedule, nil without one.
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
