// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"regexp"
	"time"

	"vault-plugin-secrets-modal/internal/duration"
)

// Types of roles. An operator brings the tokens of a static role. The engine creates the tokens of a managed
// role, and a token for each lease of a dynamic role.
const (
	TypeStatic  = "static"
	TypeManaged = "managed"
	TypeDynamic = "dynamic"
)

const defaultRefreshInterval = 5 * time.Minute

const defaultGracePeriod = 24 * time.Hour

const defaultRotationPeriod = 90 * Day

// MinTTL is the shortest time that consumers are told to wait. With a shorter time, Vault Agent and the Kubernetes
// operators loop or fail.
const MinTTL = 5 * time.Second

// MaxRefreshInterval is the longest refresh_interval.
const MaxRefreshInterval = Day

// MaxGracePeriod is the longest grace_period.
const MaxGracePeriod = 365 * Day

// MaxRotationPeriod is the longest rotation_period.
const MaxRotationPeriod = 3650 * Day

// MaxProfile is the greatest length of a profile, in characters.
const MaxProfile = 128

// MaxDescription is the greatest length of a description, in bytes.
const MaxDescription = 256

// shortGracePeriod is the time that a consumer needs to read again, debounce and restart.
const shortGracePeriod = 10 * time.Minute

// ProfileName matches the names that all three Modal clients accept as a TOML table without surprises.
var ProfileName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

// Role holds the settings of a role. It contains no secret.
type Role struct {
	// Type is one of the types above. It cannot change.
	Type string `json:"type"`
	// GenerationID is random and new for each role. It tells the role's tokens from those of a deleted role of the
	// same name.
	GenerationID string `json:"generation_id,omitempty"`
	// Description is an operator's text, for example the owner, a ticket or a repository.
	Description string `json:"description,omitempty"`
	// Profile is the name of the TOML table. It is empty for the role's name.
	Profile string `json:"profile,omitempty"`
	// Environment becomes MODAL_ENVIRONMENT. If it is empty, see EffectiveEnvironment.
	Environment string `json:"environment,omitempty"`
	// RefreshInterval is how often consumers should read again.
	RefreshInterval time.Duration `json:"refresh_interval"`
	// GracePeriod is how long the previous token stays valid after a rotation.
	GracePeriod time.Duration `json:"grace_period"`
	// RotationPeriod is when a managed role rotates, and when a static role is overdue.
	RotationPeriod time.Duration `json:"rotation_period"`
	// KeepPrevious is true for revoke_previous=false. Then the engine does not revoke a replaced token, and an operator
	// deletes it.
	KeepPrevious bool `json:"keep_previous,omitempty"`

	// Managed holds the fields of a managed role. It is nil for other roles.
	Managed *ManagedPolicy `json:"managed,omitempty"`
	// Dynamic holds the fields of a dynamic role. It is nil for other roles.
	Dynamic *DynamicPolicy `json:"dynamic,omitempty"`
}

// NewRole returns a role with the default values. Merge sets its type.
func NewRole(generationID string) *Role {
	return &Role{
		GenerationID:    generationID,
		RefreshInterval: defaultRefreshInterval,
		GracePeriod:     defaultGracePeriod,
		RotationPeriod:  defaultRotationPeriod,
	}
}

// Merge returns the role after a write. Validation checks the merged result.
func (r Role) Merge(ask RoleWrite) (*Role, error) {
	if err := r.mergeType(ask.Type); err != nil {
		return nil, err
	}
	if err := ask.checkFields(r.Type); err != nil {
		return nil, err
	}
	r.Description = ask.Description.Apply(r.Description, "")
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

func (r *Role) mergeType(change Change[string]) error {
	wanted := change.Apply(r.Type, "")
	switch {
	case wanted == "" && change.Set:
		return UserErrorf("type cannot be empty: write type=%s, type=%s or type=%s, or leave type out if the role exists; nothing was changed", TypeStatic, TypeManaged, TypeDynamic)
	case wanted == "":
		return UserErrorf("type is missing: write type=%s with a token_id and token_secret, or type=%s or type=%s with environment_roles; nothing was stored",
			TypeStatic, TypeManaged, TypeDynamic)
	case r.Type != "" && wanted != r.Type:
		return UserErrorf("the role's type is %s and cannot become %s: create a role with another name; nothing was changed", r.Type, wanted)
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
			duration.Format(r.RotationPeriod), duration.Format(r.RefreshInterval))
	}
	return nil
}

// EffectiveEnvironment returns the environment that consumers of the token read. A scoped role with a single
// environment role uses that environment by default.
func (r *Role) EffectiveEnvironment() string {
	access := r.Access()
	if r.Environment == "" && access != nil && access.Scoped && len(access.EnvironmentRoles) == 1 {
		for only := range access.EnvironmentRoles {
			return only
		}
	}
	return r.Environment
}

// Warnings returns warnings about a policy that is allowed but may break something.
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

// GraceWarnings warns if the grace period is so short that consumers may still use the previous token after it.
func GraceWarnings(grace, refresh time.Duration) []string {
	least := max(3*refresh, shortGracePeriod)
	if grace >= least {
		return nil
	}
	return []string{fmt.Sprintf("a grace period of %s is short: consumers that read every %s, or have not restarted by then, "+
		"use a token that Modal may already reject; %s or more is safe", duration.Format(grace), duration.Format(refresh), duration.Format(least))}
}

// ProfileOr returns the role's profile. The default is the role's name.
func (r *Role) ProfileOr(name string) string {
	if r.Profile == "" {
		return name
	}
	return r.Profile
}

// LogChanges returns log pairs about changes of the description and of the tokens: their rights, and the names of their
// service users. A nil before stands for a new role.
func (r *Role) LogChanges(before *Role) []any {
	if before == nil {
		before = &Role{}
	}
	var pairs []any
	for _, text := range []struct{ name, now, then string }{
		{"description", r.Description, before.Description},
		{"environment_roles", r.rightsText(), before.rightsText()},
		{"service_user_name_template", r.nameTemplate(), before.nameTemplate()},
	} {
		if text.now != text.then {
			pairs = append(pairs, text.name, text.now, text.name+"_before", text.then)
		}
	}
	if access, was := r.Access(), before.Access(); access != nil && access.Scoped != (was != nil && was.Scoped) {
		pairs = append(pairs, "scoped", access.Scoped)
	}
	return pairs
}

func (r *Role) rightsText() string {
	if access := r.Access(); access != nil {
		return RolesText(access.EnvironmentRoles)
	}
	return RolesText(nil)
}

func (r *Role) nameTemplate() string {
	if r.Dynamic == nil {
		return ""
	}
	return r.Dynamic.NameTemplate
}
