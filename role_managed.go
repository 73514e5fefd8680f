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

// mergeManaged merges the fields of managed roles, and refuses them for others.
func (r *role) mergeManaged(d *framework.FieldData) error {
	if r.Type != typeManaged {
		for _, field := range slices.Sorted(maps.Keys(managedFields())) {
			if _, given := d.Raw[field]; given {
				return refusef("%s is a field of managed roles, and this role is %s: leave it out; nothing was changed", field, r.Type)
			}
		}
		return nil
	}
	policy := managedPolicy{Scoped: true}
	if r.Managed != nil {
		policy = *r.Managed
	}
	if err := policy.merge(d); err != nil {
		return err
	}
	if err := policy.mergeSchedule(d, r); err != nil {
		return err
	}
	r.Managed = &policy
	return nil
}

func (p *managedPolicy) merge(d *framework.FieldData) error {
	if raw, ok := d.GetOk(fieldEnvironmentRoles); ok {
		pairs, _ := raw.(map[string]string)
		p.EnvironmentRoles = environmentRoles(pairs)
	}
	mergeFlag(d, fieldScoped, &p.Scoped, true)
	mergeFlag(d, fieldDisableRotation, &p.Disabled, false)
	if err := mergeOptional(d, fieldTokenTTL, &p.TokenTTL, minTokenTTL, maxTokenTTL); err != nil {
		return err
	}
	return mergeOptional(d, fieldRotationWindow, &p.Window, minRotationWindow, maxRotationWindow)
}

// mergeSchedule lets the schedule and the period take each other's place.
func (p *managedPolicy) mergeSchedule(d *framework.FieldData, r *role) error {
	raw, given := d.GetOk(fieldRotationSchedule)
	schedule, _ := raw.(string)
	period, periodGiven := d.Raw[fieldRotationPeriod]
	switch {
	case schedule != "" && periodGiven && period != "":
		return refusef("rotation_schedule and rotation_period exclude each other: write one of them; nothing was changed")
	case given:
		p.Schedule = strings.Join(strings.Fields(schedule), " ")
		if _, windowGiven := d.Raw[fieldRotationWindow]; p.Schedule == "" && !windowGiven {
			p.Window = 0
		}
		r.RotationPeriod = defaultIf(schedule != "", defaultRotationPeriod, r.RotationPeriod)
	case periodGiven:
		p.Schedule, p.Window = "", 0
	}
	return nil
}

func defaultIf(condition bool, def, value time.Duration) time.Duration {
	if condition {
		return def
	}
	return value
}

func (p *managedPolicy) validate() error {
	if len(p.EnvironmentRoles) == 0 && p.Scoped {
		return refusef("environment_roles is empty: a scoped token could do nothing; write environment_roles=main=contributor, say; nothing was changed")
	}
	for _, environment := range slices.Sorted(maps.Keys(p.EnvironmentRoles)) {
		if err := checkEnvironment(fieldEnvironmentRoles, environment); err != nil {
			return err
		}
		switch can := p.EnvironmentRoles[environment]; can {
		case modalapi.RoleViewer, modalapi.RoleContributor:
		default:
			return refusef("environment_roles: %q in environment %s is no role: use viewer or contributor; nothing was changed", can, environment)
		}
	}
	if p.Schedule == "" && p.Window != 0 {
		return refusef("rotation_window needs a rotation_schedule: write both, or neither; nothing was changed")
	}
	if p.Schedule == "" {
		return nil
	}
	_, err := parseSchedule(p.Schedule)
	return err
}

func (p *managedPolicy) warnings(r *role) []string {
	var warnings []string
	if p.TokenTTL != 0 && p.TokenTTL < r.RotationPeriod+r.GracePeriod && p.Schedule == "" {
		warnings = append(warnings, fmt.Sprintf("token_ttl %s is shorter than rotation_period and grace_period together: "+
			"the engine rotates before a token expires, so rotations come sooner than rotation_period says", p.TokenTTL))
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

func mergeFlag(d *framework.FieldData, field string, target *bool, def bool) {
	if _, given := d.Raw[field]; !given {
		return
	}
	if d.Raw[field] == "" || d.Raw[field] == nil {
		*target = def
		return
	}
	*target, _ = d.Get(field).(bool)
}

// mergeOptional is mergeDuration for a field whose zero means that it is not set.
func mergeOptional(d *framework.FieldData, field string, target *time.Duration, low, high time.Duration) error {
	if raw, given := d.GetOk(field); given && raw == 0 {
		*target = 0
		return nil
	}
	return mergeDuration(d, field, target, 0, low, high)
}
