// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"crypto/rand"
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

// Defaults, and bounds of what a role may say.
const (
	defaultRefreshInterval = 5 * time.Minute
	defaultGracePeriod     = 24 * time.Hour
	defaultRotationPeriod  = 90 * Day

	// MinTTL is the least that consumers may be told to wait: Vault Agent and the Kubernetes operators
	// loop, or fail, on less.
	MinTTL             = 5 * time.Second
	MaxRefreshInterval = Day
	MaxGracePeriod     = 365 * Day
	MaxRotationPeriod  = 3650 * Day
	MaxProfile         = 128
	// shortGracePeriod is what a consumer needs to read again, debounce and restart.
	shortGracePeriod = 10 * time.Minute

	Day = 24 * time.Hour
)

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

func newRole() *Role {
	return &Role{
		GenerationID:    rand.Text()[:8],
		RefreshInterval: defaultRefreshInterval,
		GracePeriod:     defaultGracePeriod,
		RotationPeriod:  defaultRotationPeriod,
	}
}

// merge is the role with what a write says. The merged result is what is checked.
func (r Role) merge(ask RoleWrite) (*Role, error) {
	if err := r.mergeType(ask.Kind); err != nil {
		return nil, err
	}
	if err := ask.refuseForeign(r.Type); err != nil {
		return nil, err
	}
	r.Profile = ask.Profile.Over(r.Profile, "")
	r.Environment = ask.Environment.Over(r.Environment, "")
	r.RefreshInterval = ask.RefreshInterval.Over(r.RefreshInterval, defaultRefreshInterval)
	r.GracePeriod = ask.GracePeriod.Over(r.GracePeriod, defaultGracePeriod)
	r.RotationPeriod = ask.RotationPeriod.Over(r.RotationPeriod, defaultRotationPeriod)
	r.KeepPrevious = !ask.RevokePrevious.Over(!r.KeepPrevious, true)
	switch r.Type {
	case TypeManaged:
		r.mergeManaged(ask)
	case TypeDynamic:
		r.mergeDynamic(ask)
	}
	return &r, r.validate()
}

func (r *Role) mergeType(kind Change[string]) error {
	wanted := kind.Over(r.Type, "")
	switch {
	case wanted == "" && kind.Asked:
		return Refusef("type cannot be empty: write type=%s, type=%s or type=%s, or leave it out of a role that is there; nothing was changed", TypeStatic, TypeManaged, TypeDynamic)
	case wanted == "":
		return Refusef("type is missing: write type=%s with a token_id and token_secret, or type=%s or type=%s with environment_roles; nothing was stored",
			TypeStatic, TypeManaged, TypeDynamic)
	case r.Type != "" && wanted != r.Type:
		return Refusef("the role's type is %s and cannot become %s: make a role of another name; nothing was changed", r.Type, wanted)
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
		return r.validatePace()
	}
	if r.RotationPeriod < r.RefreshInterval {
		return Refusef("rotation_period %s is shorter than refresh_interval %s: consumers would miss tokens; nothing was changed",
			Human(r.RotationPeriod), Human(r.RefreshInterval))
	}
	return nil
}

// EffectiveEnvironment is what the token is handed out with: a role of one environment has that one by default.
func (r *Role) EffectiveEnvironment() string {
	access := r.access()
	if r.Environment == "" && access != nil && access.Scoped && len(access.EnvironmentRoles) == 1 {
		for only := range access.EnvironmentRoles {
			return only
		}
	}
	return r.Environment
}

// warnings tell what an allowed policy would break.
func (r *Role) warnings() []string {
	if r.Dynamic != nil {
		return r.Dynamic.warnings()
	}
	warnings := graceWarnings(r.GracePeriod, r.RefreshInterval)
	if r.Managed != nil {
		warnings = append(warnings, r.Managed.warnings(r)...)
	}
	return warnings
}

func graceWarnings(grace, refresh time.Duration) []string {
	least := max(3*refresh, shortGracePeriod)
	if grace >= least {
		return nil
	}
	return []string{fmt.Sprintf("a grace period of %s is short: consumers that read every %s, or have not restarted by then, "+
		"use a token that Modal may already refuse; %s or more is safe", Human(grace), Human(refresh), Human(least))}
}

// ProfileOr is the role's profile, by default its name.
func (r *Role) ProfileOr(name string) string {
	if r.Profile == "" {
		return name
	}
	return r.Profile
}
