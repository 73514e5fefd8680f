// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
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
	// shortGracePeriod is what a consumer needs to read again, debounce and restart.
	shortGracePeriod = 10 * time.Minute

	day = 24 * time.Hour
)

// profileName is what all three Modal clients take as a TOML table without surprises.
var profileName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,128}$`)

// environmentName is Modal's own rule for existing environments (Go SDK v0.11.1, name_utils.go).
var environmentName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

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

// merge is the role with what a request says: absent keeps, empty clears. The merged result is what
// is checked.
func (r role) merge(d *framework.FieldData) (*role, error) {
	if err := r.mergeType(d); err != nil {
		return nil, err
	}
	mergeText(d, fieldProfile, &r.Profile)
	mergeText(d, fieldEnvironment, &r.Environment)
	for _, duration := range []struct {
		field          string
		target         *time.Duration
		def, low, high time.Duration
	}{
		{fieldRefreshInterval, &r.RefreshInterval, defaultRefreshInterval, minTTL, maxRefreshInterval},
		{fieldGracePeriod, &r.GracePeriod, defaultGracePeriod, 0, maxGracePeriod},
		{fieldRotationPeriod, &r.RotationPeriod, defaultRotationPeriod, minTTL, maxRotationPeriod},
	} {
		if err := mergeDuration(d, duration.field, duration.target, duration.def, duration.low, duration.high); err != nil {
			return nil, err
		}
	}
	if err := r.mergeManaged(d); err != nil {
		return nil, err
	}
	return &r, r.validate()
}

func (r *role) mergeType(d *framework.FieldData) error {
	wanted, given := d.GetOk(fieldType)
	switch {
	case !given && r.Type == "":
		return refusef("type is missing: write type=%s with a token_id and token_secret, or type=%s with environment_roles; nothing was stored",
			typeStatic, typeManaged)
	case !given:
		return nil
	case r.Type != "" && wanted != r.Type:
		return refusef("the role's type is %s and cannot become %q: make a role of another name; nothing was changed", r.Type, wanted)
	case wanted != typeStatic && wanted != typeManaged:
		return refusef("unknown type %q: this version of the plugin has %s and %s; nothing was stored", wanted, typeStatic, typeManaged)
	}
	r.Type, _ = wanted.(string)
	return nil
}

func (r *role) validate() error {
	if r.Profile != "" && !profileName.MatchString(r.Profile) {
		return refusef(`profile %q: use up to 128 letters, digits, "_", "." and "-", which all Modal clients read; nothing was changed`, r.Profile)
	}
	if r.Environment != "" {
		if err := checkEnvironment(fieldEnvironment, r.Environment); err != nil {
			return err
		}
	}
	if r.RotationPeriod < r.RefreshInterval {
		return refusef("rotation_period %s is shorter than refresh_interval %s: consumers would miss tokens; nothing was changed",
			r.RotationPeriod, r.RefreshInterval)
	}
	if r.Managed == nil {
		return nil
	}
	return r.Managed.validate()
}

func checkEnvironment(field, name string) error {
	if !environmentName.MatchString(name) || strings.HasPrefix(name, "en-") {
		return refusef(`%s %q: Modal's names are up to 64 letters, digits, "_", "." and "-", begin with a letter or digit and not with "en-"; nothing was changed`,
			field, name)
	}
	return nil
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
		"use a token that Modal may already refuse; %s or more is safe", grace, refresh, least)}
}

// describe is the whole policy, as it may be shown.
func (r *role) describe(name string) map[string]any {
	data := map[string]any{
		fieldType:            r.Type,
		fieldProfile:         r.profile(name),
		fieldRefreshInterval: int64(r.RefreshInterval.Seconds()),
		fieldGracePeriod:     int64(r.GracePeriod.Seconds()),
	}
	putText(data, fieldEnvironment, r.Environment)
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

func mergeText(d *framework.FieldData, field string, target *string) {
	if raw, ok := d.GetOk(field); ok {
		*target, _ = raw.(string)
	}
}
