// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"regexp"
	"time"
)

// Types of roles: an operator brings the tokens of a static role, the engine mints those of a managed
// one, and of a dynamic one a token for each lease.
const (
	TypeStatic  = "static"
	TypeManaged = "managed"
	TypeDynamic = "dynamic"
)

const defaultRefreshInterval = 5 * time.Minute

const defaultGracePeriod = 24 * time.Hour

const defaultRotationPeriod = 90 * Day

// MinTTL is the least that consumers may be told to wait: Vault Agent and the Kubernetes operators
// loop, or fail, on less.
const MinTTL = 5 * time.Second

// MaxRefreshInterval is the longest refresh_interval.
const MaxRefreshInterval = Day

// MaxGracePeriod is the longest grace_period.
const MaxGracePeriod = 365 * Day

// MaxRotationPeriod is the longest rotation_period.
const MaxRotationPeriod = 3650 * Day

// MaxProfile is how many characters a profile has at most.
const MaxProfile = 128

// shortGracePeriod is what a consumer needs to read again, debounce and restart.
const shortGracePeriod = 10 * time.Minute

// ProfileName is what all three Modal clients take as a TOML table without surprises.
var ProfileName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

// Role is the policy of one name. It holds no secret. An empty profile means the role's name.
type Role struct {
	Type string `json:"type"`
	// GenerationID is random and new for each role. It tells the role's tokens from those of a deleted role of the same
	// name.
	GenerationID    string        `json:"generation_id,omitempty"`
	Profile         string        `json:"profile,omitempty"`
	Environment     string        `json:"environment,omitempty"`
	RefreshInterval time.Duration `json:"refresh_interval"`
	GracePeriod     time.Duration `json:"grace_period"`
	RotationPeriod  time.Duration `json:"rotation_period"`
	// KeepPrevious says, of a static role, that people end the tokens that rotations replace.
	KeepPrevious bool `json:"keep_previous,omitempty"`

	Managed *ManagedPolicy `json:"managed,omitempty"`
	Dynamic *DynamicPolicy `json:"dynamic,omitempty"`
}

// NewRole returns a static role with the defaults. The ID tells this role from a later one of the same name.
func NewRole(generationID string) *Role {
	return &Role{
		GenerationID:    generationID,
		RefreshInterval: defaultRefreshInterval,
		GracePeriod:     defaultGracePeriod,
		RotationPeriod:  defaultRotationPeriod,
	}
}

// Merge is the role with what a write says. The merged result is what is checked.
func (r Role) Merge(ask RoleWrite) (*Role, error) {
	if err := r.mergeType(ask.Kind); err != nil {
		return nil, err
	}
	if err := ask.refuseForeign(r.Type); err != nil {
		return nil, err
	}
	r.Profile = ask.Profile.Apply(r.Profile, "")
	r.Environment = ask.Environment.Apply(r.Environment, "")
	r.RefreshInterval = ask.RefreshInterval.Apply(r.RefreshInterval, defaultRefreshInterval)
	r.GracePeriod = ask.GracePeriod.Apply(r.GracePeriod, defaultGracePeriod)
	r.RotationPeriod = ask.RotationPeriod.Apply(r.RotationPeriod, defaultRotationPeriod)
	r.KeepPrevious = !ask.RevokePrevious.Apply(!r.KeepPrevious, true)
	switch r.Type {
	case TypeManaged:
		r.mergeManaged(ask)
	case TypeDynamic:
		r.mergeDynamic(ask)
	}
	return &r, r.validate()
}

func (r *Role) mergeType(kind Change[string]) error {
	wanted := kind.Apply(r.Type, "")
	switch {
	case wanted == "" && kind.Set:
		return UserErrorf("type cannot be empty: write type=%s, type=%s or type=%s, or leave it out of a role that is there; nothing was changed", TypeStatic, TypeManaged, TypeDynamic)
	case wanted == "":
		return UserErrorf("type is missing: write type=%s with a token_id and token_secret, or type=%s or type=%s with environment_roles; nothing was stored",
			TypeStatic, TypeManaged, TypeDynamic)
	case r.Type != "" && wanted != r.Type:
		return UserErrorf("the role's type is %s and cannot become %s: make a role of another name; nothing was changed", r.Type, wanted)
	}
	r.Type = wanted
	return nil
}

func (r *Role) validate() error {
	if r.Dynamic != nil {
		return r.Dynamic.validate(r)
	}
	if r.Managed != nil {
		if err := r.Managed.validate(r); err != nil {
			return err
		}
		return r.validateFrequency()
	}
	if r.RotationPeriod < r.RefreshInterval {
		return UserErrorf("rotation_period %s is shorter than refresh_interval %s: consumers would miss tokens; nothing was changed",
			FormatDuration(r.RotationPeriod), FormatDuration(r.RefreshInterval))
	}
	return nil
}

// EffectiveEnvironment is what the token is handed out with: a role of one environment has that one by default.
func (r *Role) EffectiveEnvironment() string {
	access := r.Access()
	if r.Environment == "" && access != nil && access.Scoped && len(access.EnvironmentRoles) == 1 {
		for only := range access.EnvironmentRoles {
			return only
		}
	}
	return r.Environment
}

// Warnings tell what an allowed policy would break.
func (r *Role) Warnings() []string {
	if r.Dynamic != nil {
		return r.Dynamic.warnings()
	}
	warnings := GraceWarnings(r.GracePeriod, r.RefreshInterval)
	if r.Managed != nil {
		warnings = append(warnings, r.Managed.warnings(r)...)
	}
	return warnings
}

// GraceWarnings warns of a grace period in which consumers may still use the previous token.
func GraceWarnings(grace, refresh time.Duration) []string {
	least := max(3*refresh, shortGracePeriod)
	if grace >= least {
		return nil
	}
	return []string{fmt.Sprintf("a grace period of %s is short: consumers that read every %s, or have not restarted by then, "+
		"use a token that Modal may already refuse; %s or more is safe", FormatDuration(grace), FormatDuration(refresh), FormatDuration(least))}
}

// ProfileOr is the role's profile, by default its name.
func (r *Role) ProfileOr(name string) string {
	if r.Profile == "" {
		return name
	}
	return r.Profile
}
