// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-modal/internal/modalapi"
)

const (
	minTokenTTL = 10 * time.Minute
	maxTokenTTL = maxRotationPeriod
	// minRotationWindow is Vault's own least window for scheduled rotations.
	minRotationWindow = time.Hour
	maxRotationWindow = day

	maxSchedule = 256
)

// managedPolicy is what a managed role says of its service users: what they may do, how long their
// tokens live, and when they are replaced. Without a Schedule the role's rotation period counts.
type managedPolicy struct {
	EnvironmentRoles map[string]modalapi.EnvironmentRole `json:"environment_roles,omitempty"`
	Scoped           bool                                `json:"scoped"`
	TokenTTL         time.Duration                       `json:"token_ttl,omitempty"`
	Schedule         string                              `json:"rotation_schedule,omitempty"`
	Window           time.Duration                       `json:"rotation_window,omitempty"`
	Disabled         bool                                `json:"disable_automated_rotation,omitempty"`
}

// managedFields mean nothing to a static role.
func managedFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldEnvironmentRoles: {
			Type:         framework.TypeKVPairs,
			Description:  "Managed roles: what the token may do, as environment=viewer or environment=contributor.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Environment roles"},
		},
		fieldScoped: {
			Type: framework.TypeBool, Default: true,
			Description:  "Managed roles: confine the token to environment_roles (default true).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Scoped", Value: true},
		},
		fieldTokenTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Managed roles: life of a token at Modal, from 10m (default: it does not expire).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Token TTL"},
		},
		fieldRotationSchedule: {
			Type:         framework.TypeString,
			Description:  "Managed roles: when to rotate, as five-field cron in UTC, in place of rotation_period.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Rotation schedule"},
		},
		fieldRotationWindow: {
			Type:         framework.TypeDurationSecond,
			Description:  "Managed roles: how long after a firing of rotation_schedule the rotation may begin (1h to 24h; default: any time).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Rotation window"},
		},
		fieldDisableRotation: {
			Type:         framework.TypeBool,
			Description:  "Managed roles: rotate only on request.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Disable automated rotation"},
		},
	}
}

// managedWrite is what a write says of the fields of managed roles.
type managedWrite struct {
	environmentRoles Change[map[string]modalapi.EnvironmentRole]
	scoped, disabled Change[bool]
	tokenTTL, window Change[time.Duration]
	schedule         Change[string]
	said             string // one of these fields that the write has, "" for none
}

func parseManaged(in *door) managedWrite {
	ask := managedWrite{
		environmentRoles: take(in, fieldEnvironmentRoles, parseEnvironmentRoles),
		scoped:           in.flag(fieldScoped),
		disabled:         in.flag(fieldDisableRotation),
		tokenTTL:         in.optional(fieldTokenTTL, minTokenTTL, maxTokenTTL),
		window:           in.optional(fieldRotationWindow, minRotationWindow, maxRotationWindow),
		schedule:         checked(in, fieldRotationSchedule, maxSchedule, parseCron),
	}
	for _, field := range slices.Sorted(maps.Keys(managedFields())) {
		if in.body[field] != nil {
			ask.said = field
			break
		}
	}
	if period := in.body[fieldRotationPeriod]; ask.schedule.value != "" && period != nil && period != "" {
		in.wrong = append(in.wrong, "rotation_schedule and rotation_period exclude each other: write one of them")
	}
	return ask
}

// parseCron is a schedule in one spelling.
func parseCron(text string) (schedule, mistake string) {
	schedule = strings.Join(strings.Fields(text), " ")
	_, mistake = scheduleOf(schedule)
	return schedule, mistake
}

// mergeManaged merges the fields of managed roles, and refuses them for others.
func (r *role) mergeManaged(ask roleWrite) error {
	if r.Type != typeManaged {
		if ask.managed.said != "" {
			return refusef("%s is a field of managed roles, and this role is %s: leave it out; nothing was changed", ask.managed.said, r.Type)
		}
		return nil
	}
	policy := managedPolicy{Scoped: true}
	if r.Managed != nil {
		policy = *r.Managed
	}
	policy.merge(ask.managed)
	if policy.mergeSchedule(ask) {
		r.RotationPeriod = defaultRotationPeriod
	}
	r.Managed = &policy
	return nil
}

func (p *managedPolicy) merge(ask managedWrite) {
	p.EnvironmentRoles = ask.environmentRoles.Over(p.EnvironmentRoles, nil)
	p.Scoped = ask.scoped.Over(p.Scoped, true)
	p.Disabled = ask.disabled.Over(p.Disabled, false)
	p.TokenTTL = ask.tokenTTL.Over(p.TokenTTL, 0)
	p.Window = ask.window.Over(p.Window, 0)
}

// mergeSchedule lets the schedule and the period take each other's place. A window goes with its
// schedule, unless the write says one.
func (p *managedPolicy) mergeSchedule(ask roleWrite) (taken bool) {
	before, schedule, period := p.Schedule, ask.managed.schedule, ask.rotationPeriod
	p.Schedule = schedule.Over(p.Schedule, "")
	if period.asked && !period.reset && !schedule.asked {
		p.Schedule = ""
	}
	if before != "" && p.Schedule == "" && !ask.managed.window.asked {
		p.Window = 0
	}
	return schedule.asked && p.Schedule != ""
}

func (p *managedPolicy) validate(r *role) error {
	if len(p.EnvironmentRoles) == 0 && p.Scoped {
		return refusef("environment_roles is empty: a scoped token could do nothing; write environment_roles=main=contributor, say; nothing was changed")
	}
	if _, can := p.EnvironmentRoles[r.Environment]; r.Environment != "" && p.Scoped && !can {
		return refusef("environment %s is not among environment_roles (%s), and the token can do nothing there: write another environment; nothing was changed",
			r.Environment, rolesText(p.EnvironmentRoles))
	}
	if p.Schedule == "" && p.Window != 0 {
		return refusef("rotation_window needs a rotation_schedule: write both, or neither; nothing was changed")
	}
	return nil
}

func (p *managedPolicy) warnings(r *role) []string {
	var warnings []string
	if p.TokenTTL != 0 && p.TokenTTL < r.RotationPeriod+r.GracePeriod && p.Schedule == "" {
		warnings = append(warnings, fmt.Sprintf("token_ttl %s is shorter than rotation_period and grace_period together: "+
			"the engine rotates before a token expires, so rotations come sooner than rotation_period says", human(p.TokenTTL)))
	}
	if p.Disabled && p.TokenTTL != 0 {
		warnings = append(warnings, "automated rotation is disabled and tokens expire: rotate by hand before they do")
	}
	if !p.Scoped {
		warnings = append(warnings, "scoped=false lets the token act outside environment_roles, wherever the workspace's defaults allow it")
	}
	return warnings
}

// atNextRotation tells which changes of policy need a new service user to take effect.
func (p *managedPolicy) atNextRotation(before *managedPolicy) []string {
	var fields []string
	if p.Scoped != before.Scoped {
		fields = append(fields, fieldScoped)
	}
	if p.TokenTTL != before.TokenTTL {
		fields = append(fields, fieldTokenTTL)
	}
	if len(fields) == 0 {
		return nil
	}
	return []string{strings.Join(fields, " and ") + " takes effect at the next rotation, as Modal sets it when a service user is made"}
}

func (p *managedPolicy) describe(data map[string]any) {
	data[fieldScoped] = p.Scoped
	data[fieldDisableRotation] = p.Disabled
	if len(p.EnvironmentRoles) > 0 {
		data[fieldEnvironmentRoles] = p.EnvironmentRoles
	}
	if p.TokenTTL != 0 {
		data[fieldTokenTTL] = int64(p.TokenTTL.Seconds())
	}
	if p.Window != 0 {
		data[fieldRotationWindow] = int64(p.Window.Seconds())
	}
	putText(data, fieldRotationSchedule, p.Schedule)
}

// rotatesOtherwise says whether a change of policy moves the next rotation.
func (r *role) rotatesOtherwise(before *role) bool {
	return r.RotationPeriod != before.RotationPeriod || r.Managed.Schedule != before.Managed.Schedule ||
		r.Managed.Window != before.Managed.Window || r.Managed.Disabled != before.Managed.Disabled
}

// upcoming tells the next firings of a schedule, nil without one.
func (r *role) upcoming(now time.Time) map[string]any {
	if r.Managed == nil || r.Managed.Schedule == "" {
		return nil
	}
	schedule, err := parseSchedule(r.Managed.Schedule)
	if err != nil {
		return nil
	}
	var times []string
	for _, at := range firings(schedule, now, 3) {
		times = append(times, at.Format(time.RFC3339))
	}
	return map[string]any{fieldNextFirings: times}
}

// privileges are log pairs that tell what a write changed of what tokens may do.
func (r *role) privileges(before *role) []any {
	if r.Managed == nil {
		return nil
	}
	was := &managedPolicy{}
	if before != nil {
		was = before.Managed
	}
	var pairs []any
	if now, then := rolesText(r.Managed.EnvironmentRoles), rolesText(was.EnvironmentRoles); now != then {
		pairs = append(pairs, "environment_roles", now, "environment_roles_before", then)
	}
	if r.Managed.Scoped != was.Scoped {
		pairs = append(pairs, "scoped", r.Managed.Scoped)
	}
	return pairs
}
