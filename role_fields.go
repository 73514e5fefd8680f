// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"

	"vault-plugin-secrets-modal/internal/model"
)

func policyFields() map[string]*framework.FieldSchema {
	return with(accessFields(), managedFields(), dynamicFields(), map[string]*framework.FieldSchema{
		fieldType: {
			Type: framework.TypeString, AllowedValues: []any{model.TypeStatic, model.TypeManaged, model.TypeDynamic},
			Description:  "Type of the role: static (an operator brings or approves the tokens), managed (the engine creates them) or dynamic (it creates one for each lease). Cannot change.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Type"},
		},
		fieldProfile: {
			Type:         framework.TypeString,
			Description:  "Name of the profile in .modal.toml (default: the role's name).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Profile"},
		},
		fieldEnvironment: {
			Type:         framework.TypeString,
			Description:  "Modal environment that is returned with the token, as MODAL_ENVIRONMENT.",
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
			Description:  "Static roles: revoke the member token that a rotation replaces (default true).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Revoke previous", Value: true},
		},
	})
}

// accessFields mean nothing to a static role.
func accessFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldEnvironmentRoles: {
			Type:         framework.TypeKVPairs,
			Description:  "Managed and dynamic roles: what the token may do, as environment=viewer or environment=contributor.",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Environment roles"},
		},
		fieldScoped: {
			Type: framework.TypeBool, Default: true,
			Description:  "Managed and dynamic roles: limit the token to environment_roles (default true).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Scoped", Value: true},
		},
	}
}

func managedFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
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
		fieldHold: {
			Type:         framework.TypeDurationSecond,
			Description:  "Managed roles: how much longer than its grace period a previous token may live while Modal says that it is still used (default 0).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Hold while used"},
		},
	}
}

func dynamicFields() map[string]*framework.FieldSchema {
	return map[string]*framework.FieldSchema{
		fieldTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Dynamic roles: how long a lease runs before it has to be renewed (default 1h, from 1m).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "TTL", Value: "1h"},
		},
		fieldMaxTTL: {
			Type:         framework.TypeDurationSecond,
			Description:  "Dynamic roles: how long a lease can be renewed to (default 24h).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Max TTL", Value: "24h"},
		},
		fieldMaxLeases: {
			Type:         framework.TypeInt,
			Description:  "Dynamic roles: how many leases there may be at a time (default 0: any number).",
			DisplayAttrs: &framework.DisplayAttributes{Name: "Max leases"},
		},
	}
}

func parseRole(in *door) model.RoleWrite {
	ask := model.RoleWrite{
		Supplied:        in.supplied(emptyPair),
		Name:            in.name,
		Kind:            checked(in, fieldType, maxToldName, parseType),
		Profile:         checked(in, fieldProfile, model.MaxProfile, parseProfile),
		Environment:     checked(in, fieldEnvironment, maxToldName, parseEnvironment),
		RefreshInterval: in.duration(fieldRefreshInterval, model.MinTTL, model.MaxRefreshInterval),
		GracePeriod:     in.duration(fieldGracePeriod, 0, model.MaxGracePeriod),
		RotationPeriod:  take(in, fieldRotationPeriod, parsePeriod),
		RevokePrevious:  in.flag(fieldRevokePrevious),
		Access:          parseAccess(in),
		Managed:         parseManaged(in),
		Dynamic:         parseDynamic(in),
		Force:           in.flag(fieldForce).Apply(false, false),
	}
	if ask.Force {
		ask.Given = append(ask.Given, fieldForce)
	}
	return ask
}

func parseType(text string) (kind, mistake string) {
	kinds := []string{model.TypeStatic, model.TypeManaged, model.TypeDynamic}
	if slices.Contains(kinds, text) {
		return text, ""
	}
	mistake = "write " + strings.Join(kinds, ", ")
	if meant := nearest(text, kinds); len(meant) > 0 {
		mistake = "did you mean " + meant[0] + "? The types are " + strings.Join(kinds, ", ")
	}
	return "", mistake
}

func parsePeriod(raw any) (period time.Duration, mistake string) {
	if period, mistake = parseDuration(raw); mistake == "" && period == 0 {
		return 0, "0 is no period: write disable_automated_rotation=true to have a managed role rotated on request only"
	}
	return within(raw, model.MinTTL, model.MaxRotationPeriod)
}

func parseProfile(text string) (profile, mistake string) {
	if !model.ProfileName.MatchString(text) {
		return "", `use letters, digits, "_", "." and "-", which all Modal clients read`
	}
	return text, ""
}

func parseAccess(in *door) model.AccessWrite {
	return model.AccessWrite{
		EnvironmentRoles: take(in, fieldEnvironmentRoles, parseEnvironmentRoles),
		Scoped:           in.flag(fieldScoped),
		Given:            in.given(namesOf(accessFields())...),
	}
}

func parseDynamic(in *door) model.DynamicWrite {
	return model.DynamicWrite{
		TTL:       in.duration(fieldTTL, model.MinLeaseTTL, model.MaxLeaseTTL),
		MaxTTL:    in.duration(fieldMaxTTL, model.MinLeaseTTL, model.MaxLeaseTTL),
		MaxLeases: in.count(fieldMaxLeases, model.MaxLeases),
		Given:     in.given(namesOf(dynamicFields())...),
	}
}

func parseManaged(in *door) model.ManagedWrite {
	ask := model.ManagedWrite{
		Disabled: in.flag(fieldDisableRotation),
		TokenTTL: in.optional(fieldTokenTTL, model.MinTokenTTL, model.MaxTokenTTL),
		Window:   in.optional(fieldRotationWindow, model.MinRotationWindow, model.MaxRotationWindow),
		Hold:     in.optional(fieldHold, model.MinHold, model.MaxHold),
		Schedule: checked(in, fieldRotationSchedule, model.MaxSchedule, parseCron),
		Given:    in.given(namesOf(managedFields())...),
	}
	if period := in.body[fieldRotationPeriod]; ask.Schedule.Value != "" && period != nil && period != "" {
		in.wrong = append(in.wrong, "rotation_schedule and rotation_period exclude each other: write one of them")
	}
	return ask
}

// parseCron is a schedule in one spelling.
func parseCron(text string) (schedule, mistake string) {
	schedule = strings.Join(strings.Fields(text), " ")
	_, mistake = model.ParseSchedule(schedule)
	return schedule, mistake
}
