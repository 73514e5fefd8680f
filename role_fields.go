// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"maps"
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/engine"

	"github.com/hashicorp/vault/sdk/framework"
)

func policyFields() map[string]*framework.FieldSchema {
	return with(managedFields(), map[string]*framework.FieldSchema{
		fieldType: {
			Type: framework.TypeString, AllowedValues: []any{engine.TypeStatic, engine.TypeManaged},
			Description:  "Type of the role: static (an operator brings the tokens) or managed (the engine mints them). Cannot change.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Type"},
		},
		fieldProfile: {
			Type:         framework.TypeString,
			Description:  "Name of the profile in .modal.toml (default: the role's name).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Profile"},
		},
		fieldEnvironment: {
			Type:         framework.TypeString,
			Description:  "Modal environment to hand out with the token, as MODAL_ENVIRONMENT.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Environment"},
		},
		fieldRefreshInterval: {
			Type:         framework.TypeDurationSecond,
			Description:  "How often a consumer should read again (default 5m, 5s to 24h).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Refresh interval", Value: "5m"},
		},
		fieldGracePeriod: gracePeriodField("How long the previous token stays valid after a rotation (default 24h, up to a year)."),
		fieldRotationPeriod: {
			Type: framework.TypeDurationSecond,
			Description: "Age at which a token is replaced (default 90d): by the engine for a managed role, by an operator " +
				"for a static one, whose reads warn past it.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Rotation period", Value: "90d"},
		},
		fieldRevokePrevious: {
			Type: framework.TypeBool, Default: true,
			Description:  "Static roles: end the member token that a rotation replaces (default true).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Revoke previous", Value: true},
		},
	})
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

func parseRole(in *door) engine.RoleWrite {
	ask := engine.RoleWrite{
		Supplied:        in.supplied(emptyPair),
		Name:            in.name,
		Kind:            checked(in, fieldType, maxToldName, parseType),
		Profile:         checked(in, fieldProfile, engine.MaxProfile, parseProfile),
		Environment:     checked(in, fieldEnvironment, maxToldName, parseEnvironment),
		RefreshInterval: in.duration(fieldRefreshInterval, engine.MinTTL, engine.MaxRefreshInterval),
		GracePeriod:     in.duration(fieldGracePeriod, 0, engine.MaxGracePeriod),
		RotationPeriod:  in.duration(fieldRotationPeriod, engine.MinTTL, engine.MaxRotationPeriod),
		RevokePrevious:  in.flag(fieldRevokePrevious),
		Managed:         parseManaged(in),
		Force:           in.flag(fieldForce).Over(false, false),
	}
	if ask.Force {
		ask.Said = fieldForce
	}
	return ask
}

func parseType(text string) (kind, mistake string) {
	if text != engine.TypeStatic && text != engine.TypeManaged {
		return "", "this version of the plugin has " + engine.TypeStatic + " and " + engine.TypeManaged
	}
	return text, ""
}

func parseProfile(text string) (profile, mistake string) {
	if !engine.ProfileName.MatchString(text) {
		return "", `use letters, digits, "_", "." and "-", which all Modal clients read`
	}
	return text, ""
}

func parseManaged(in *door) engine.ManagedWrite {
	ask := engine.ManagedWrite{
		EnvironmentRoles: take(in, fieldEnvironmentRoles, parseEnvironmentRoles),
		Scoped:           in.flag(fieldScoped),
		Disabled:         in.flag(fieldDisableRotation),
		TokenTTL:         in.optional(fieldTokenTTL, engine.MinTokenTTL, engine.MaxTokenTTL),
		Window:           in.optional(fieldRotationWindow, engine.MinRotationWindow, engine.MaxRotationWindow),
		Schedule:         checked(in, fieldRotationSchedule, engine.MaxSchedule, parseCron),
	}
	for _, field := range slices.Sorted(maps.Keys(managedFields())) {
		if in.body[field] != nil {
			ask.Said = field
			break
		}
	}
	if period := in.body[fieldRotationPeriod]; ask.Schedule.Value != "" && period != nil && period != "" {
		in.wrong = append(in.wrong, "rotation_schedule and rotation_period exclude each other: write one of them")
	}
	return ask
}

// parseCron is a schedule in one spelling.
func parseCron(text string) (schedule, mistake string) {
	schedule = strings.Join(strings.Fields(text), " ")
	_, mistake = engine.ScheduleOf(schedule)
	return schedule, mistake
}

// describe is the whole policy, as it may be shown.
func roleView(r *engine.Role, name string) map[string]any {
	data := map[string]any{
		fieldType:            r.Type,
		fieldProfile:         r.ProfileOr(name),
		fieldRefreshInterval: int64(r.RefreshInterval.Seconds()),
		fieldGracePeriod:     int64(r.GracePeriod.Seconds()),
	}
	putText(data, fieldEnvironment, r.EffectiveEnvironment())
	if r.Managed == nil || r.Managed.Schedule == "" {
		data[fieldRotationPeriod] = int64(r.RotationPeriod.Seconds())
	}
	if r.Managed == nil {
		data[fieldRevokePrevious] = !r.KeepPrevious
	}
	if r.Managed != nil {
		managedView(r.Managed, data)
	}
	return data
}

func managedView(p *engine.ManagedPolicy, data map[string]any) {
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
