// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"regexp"
	"time"
)

// Types of roles: an operator brings the tokens of a static role, the engine mints those of a managed
// one.
const (
	typeStatic  = "static"
	typeManaged = "managed"
)

const (
	defaultRefreshInterval = 5 * time.Minute
	defaultGracePeriod     = 24 * time.Hour
	defaultRotationPeriod  = 90 * day

	// minTTL is the least that consumers may be told to wait: Vault Agent and the Kubernetes operators
	// loop, or fail, on less.
	minTTL             = 5 * time.Second
	maxRefreshInterval = day
	maxGracePeriod     = 365 * day
	maxRotationPeriod  = 3650 * day
	maxProfile         = 128
	// shortGracePeriod is what a consumer needs to read again, debounce and restart.
	shortGracePeriod = 10 * time.Minute

	day = 24 * time.Hour
)

// profileName is what all three Modal clients take as a TOML table without surprises.
var profileName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

// role is the policy of one name. It holds no secret. An empty profile means the role's name.
type role struct {
	Type            string        `json:"type"`
	Profile         string        `json:"profile,omitempty"`
	Environment     string        `json:"environment,omitempty"`
	RefreshInterval time.Duration `json:"refresh_interval"`
	GracePeriod     time.Duration `json:"grace_period"`
	RotationPeriod  time.Duration `json:"rotation_period"`

	Managed *managedPolicy `json:"managed,omitempty"`
}

func newRole() *role {
	return &role{
		RefreshInterval: defaultRefreshInterval,
		GracePeriod:     defaultGracePeriod,
		RotationPeriod:  defaultRotationPeriod,
	}
}

// merge is the role with what a write says. The merged result is what is checked.
func (r role) merge(ask roleWrite) (*role, error) {
	if err := r.mergeType(ask.kind); err != nil {
		return nil, err
	}
	r.Profile = ask.profile.Over(r.Profile, "")
	r.Environment = ask.environment.Over(r.Environment, "")
	r.RefreshInterval = ask.refreshInterval.Over(r.RefreshInterval, defaultRefreshInterval)
	r.GracePeriod = ask.gracePeriod.Over(r.GracePeriod, defaultGracePeriod)
	r.RotationPeriod = ask.rotationPeriod.Over(r.RotationPeriod, defaultRotationPeriod)
	if err := r.mergeManaged(ask); err != nil {
		return nil, err
	}
	return &r, r.validate()
}

func (r *role) mergeType(kind Change[string]) error {
	wanted := kind.Over(r.Type, "")
	switch {
	case wanted == "" && kind.asked:
		return refusef("type cannot be empty: write type=%s or type=%s, or leave it out of a role that is there; nothing was changed", typeStatic, typeManaged)
	case wanted == "":
		return refusef("type is missing: write type=%s with a token_id and token_secret, or type=%s with environment_roles; nothing was stored",
			typeStatic, typeManaged)
	case r.Type != "" && wanted != r.Type:
		return refusef("the role's type is %s and cannot become %s: make a role of another name; nothing was changed", r.Type, wanted)
	}
	r.Type = wanted
	return nil
}

func (r *role) validate() error {
	if r.Managed != nil {
		if err := r.Managed.validate(r); err != nil {
			return err
		}
		return r.validatePace()
	}
	if r.RotationPeriod < r.RefreshInterval {
		return refusef("rotation_period %s is shorter than refresh_interval %s: consumers would miss tokens; nothing was changed",
			human(r.RotationPeriod), human(r.RefreshInterval))
	}
	return nil
}

// environment is what the token is handed out with: a role of one environment has that one by default.
func (r *role) environment() string {
	if r.Environment == "" && r.Managed != nil && r.Managed.Scoped && len(r.Managed.EnvironmentRoles) == 1 {
		for only := range r.Managed.EnvironmentRoles {
			return only
		}
	}
	return r.Environment
}

// warnings tell what an allowed policy would break.
func (r *role) warnings() []string {
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
		"use a token that Modal may already refuse; %s or more is safe", human(grace), human(refresh), human(least))}
}

// describe is the whole policy, as it may be shown.
func (r *role) describe(name string) map[string]any {
	data := map[string]any{
		fieldType:            r.Type,
		fieldProfile:         r.profile(name),
		fieldRefreshInterval: int64(r.RefreshInterval.Seconds()),
		fieldGracePeriod:     int64(r.GracePeriod.Seconds()),
	}
	putText(data, fieldEnvironment, r.environment())
	if r.Managed == nil || r.Managed.Schedule == "" {
		data[fieldRotationPeriod] = int64(r.RotationPeriod.Seconds())
	}
	if r.Managed != nil {
		r.Managed.describe(data)
	}
	return data
}

func (r *role) profile(name string) string {
	if r.Profile == "" {
		return name
	}
	return r.Profile
}
