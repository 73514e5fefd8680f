// SPDX-License-Identifier: MPL-2.0

package model

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Bounds of what the configuration may say.
const (
	MinRequestTimeout = time.Second
	MaxRequestTimeout = 2 * time.Minute

	MinVerification = 10 * time.Minute
	MaxVerification = 90 * Day

	MaxServerURL = 512
	MaxCACert    = 64 << 10

	MaxWorkspace = 128
)

// Config is how the engine reaches Modal, and as whom. Admin is nil without an admin token, and
// Limitation is why that one cannot manage service users, where it cannot. The rest are ceilings for
// what roles may ask of a service user; without AllowedEnvironments every environment is allowed. Paused
// stops all that the worker does at Modal by itself.
type Config struct {
	ServerURL           string                   `json:"server_url"`
	CACert              string                   `json:"ca_cert,omitempty"`
	RequestTimeout      time.Duration            `json:"request_timeout"`
	Admin               *Token                   `json:"admin,omitempty"`
	Limitation          string                   `json:"limitation,omitempty"`
	AllowedEnvironments []string                 `json:"allowed_environments,omitempty"`
	MaxEnvironmentRole  modalapi.EnvironmentRole `json:"max_environment_role,omitempty"`
	Paused              bool                     `json:"paused,omitempty"`
	// PinnedWorkspace is the name or the ID of the workspace that every supplied or approved token belongs to.
	PinnedWorkspace string `json:"pinned_workspace,omitempty"`

	// VerificationInterval is nil for the default. AdminChecked is when Modal was asked about the admin token
	// last, and AdminRejected since when it refuses it.
	VerificationInterval *time.Duration `json:"verification_interval,omitempty"`
	AdminChecked         time.Time      `json:"admin_checked,omitzero"`
	AdminRejected        time.Time      `json:"admin_rejected,omitzero"`
}

// DefaultVerification is how often Modal is asked about each current token by itself.
const DefaultVerification = Day

// VerificationEvery is how often Modal is asked about each current token, 0 for never.
func (c *Config) VerificationEvery() time.Duration {
	if c.VerificationInterval == nil {
		return DefaultVerification
	}
	return *c.VerificationInterval
}

// DefaultConfig hold where nothing was configured. Like every cached entry they are never changed.
var DefaultConfig = &Config{ServerURL: modalapi.DefaultServerURL, RequestTimeout: modalapi.DefaultTimeout}

// Merge is the config with what a write says, the admin token apart.
func (c Config) Merge(ask ConfigWrite) *Config {
	c.ServerURL = ask.ServerURL.Apply(c.ServerURL, modalapi.DefaultServerURL)
	c.CACert = ask.CACert.Apply(c.CACert, "")
	c.RequestTimeout = ask.RequestTimeout.Apply(c.RequestTimeout, modalapi.DefaultTimeout)
	c.AllowedEnvironments = ask.AllowedEnvironments.Apply(c.AllowedEnvironments, nil)
	c.MaxEnvironmentRole = ask.MaxEnvironmentRole.Apply(c.MaxEnvironmentRole, "")
	c.Paused = ask.Paused.Apply(c.Paused, false)
	c.PinnedWorkspace = ask.PinnedWorkspace.Apply(c.PinnedWorkspace, "")
	if every := ask.VerificationInterval.Apply(c.VerificationEvery(), DefaultVerification); every != c.VerificationEvery() {
		c.VerificationInterval = &every
	}
	return &c
}

// CheckRole refuses a role that asks for more than the ceilings allow.
func (c *Config) CheckRole(r *Role) error { return c.CheckAccess(r.Access()) }

// CheckAccess refuses access that is more than the ceilings allow.
func (c *Config) CheckAccess(access *Access) error {
	if ceilings := c.LimitsText(); ceilings != "" && !access.Scoped {
		return UserErrorf("scoped=false reaches past config's %s: write scoped=true to the role", ceilings)
	}
	for _, environment := range slices.Sorted(maps.Keys(access.EnvironmentRoles)) {
		if len(c.AllowedEnvironments) > 0 && !slices.Contains(c.AllowedEnvironments, environment) {
			return UserErrorf("environment %s is not among config's allowed_environments (%s): take it out of the role's environment_roles, or add it there",
				environment, strings.Join(c.AllowedEnvironments, ", "))
		}
		if c.MaxEnvironmentRole == modalapi.RoleViewer && access.EnvironmentRoles[environment] != modalapi.RoleViewer {
			return UserErrorf("%s in environment %s is more than config's max_environment_role (viewer): write %s=viewer to the role, or raise that",
				access.EnvironmentRoles[environment], environment, environment)
		}
	}
	return nil
}

// LimitsText names those that are set, "" for none.
func (c *Config) LimitsText() string {
	var set []string
	if len(c.AllowedEnvironments) > 0 {
		set = append(set, fmt.Sprintf("allowed_environments (%s)", strings.Join(c.AllowedEnvironments, ", ")))
	}
	if c.MaxEnvironmentRole != "" {
		set = append(set, fmt.Sprintf("max_environment_role (%s)", c.MaxEnvironmentRole))
	}
	return strings.Join(set, " and ")
}

// CheckReach refuses to manage a service user of another Modal, or of a workspace that is not the admin's.
func (c *Config) CheckReach(t Token) error {
	if !c.Serves(t) {
		return UserErrorf("token %s belongs to %s, and the admin token in config to %s, which cannot manage it: write server_url=%s to config, with an admin token of it",
			cmp.Or(t.ID, t.Identity), t.ServerURL, c.ServerURL, t.ServerURL)
	}
	if c.Admin == nil || !c.Admin.Verified() || t.WorkspaceID == "" || c.Admin.WorkspaceID == t.WorkspaceID {
		return nil
	}
	return UserErrorf("token %s is in workspace %q, and the admin token in config is of workspace %q: write an admin token of %q to config",
		cmp.Or(t.ID, t.Identity), t.Workspace, c.Admin.Workspace, t.Workspace)
}

// Serves says whether a token belongs to the configured Modal. One stored before tokens knew theirs does.
func (c *Config) Serves(t Token) bool {
	return t.ServerURL == "" || SameServer(t.ServerURL, c.ServerURL)
}

// ClientServerURL is what clients of a token have to be told of its server: nothing when it is their
// default.
func (c *Config) ClientServerURL(t Token) string {
	if url := cmp.Or(t.ServerURL, c.ServerURL); url != modalapi.DefaultServerURL {
		return url
	}
	return ""
}

// SameServer compares URLs of which an older version may have stored one with capitals.
func SameServer(a, b string) bool { return strings.EqualFold(a, b) }

// ReachesSameServer reports whether two configs reach the same Modal and trust the same certificates.
func (c *Config) ReachesSameServer(other *Config) bool {
	return SameServer(c.ServerURL, other.ServerURL) && modalapi.SameRoots(c.CACert, other.CACert)
}

// RootsFor returns the CA bundle under which the engine reaches a server: that of config for its own
// server, and none, which stands for the system's roots, for any other.
func (c *Config) RootsFor(serverURL string) string {
	if c.Serves(Token{ServerURL: serverURL}) {
		return c.CACert
	}
	return ""
}

// LogChanges are log pairs that tell what a write changed of where secrets go and what roles may ask for.
func (c *Config) LogChanges(before *Config) []any {
	var pairs []any
	for _, field := range []struct{ name, now, then string }{
		{"server_url", c.ServerURL, before.ServerURL},
		{"admin_token", c.AdminID(), before.AdminID()},
		{"allowed_environments", strings.Join(c.AllowedEnvironments, ","), strings.Join(before.AllowedEnvironments, ",")},
		{"max_environment_role", string(c.MaxEnvironmentRole), string(before.MaxEnvironmentRole)},
		{"pinned_workspace", c.PinnedWorkspace, before.PinnedWorkspace},
	} {
		if field.now != field.then {
			pairs = append(pairs, field.name, field.now, field.name+"_before", field.then)
		}
	}
	if c.AdminID() != before.AdminID() {
		pairs = append(append(pairs, c.AdminToken().Account().LogPairs("")...), before.AdminToken().Account().LogPairs("_before")...)
	}
	if c.Paused != before.Paused {
		pairs = append(pairs, "paused", c.Paused)
	}
	if c.CACert != before.CACert {
		pairs = append(pairs, "ca_cert", "changed")
	}
	return pairs
}

// HasOtherLimits reports whether a write changed what roles may ask for.
func (c *Config) HasOtherLimits(before *Config) bool {
	return c.MaxEnvironmentRole != before.MaxEnvironmentRole || !slices.Equal(c.AllowedEnvironments, before.AllowedEnvironments)
}

// Within limits environment roles to the ceilings of config.
func (c *Config) Within(roles map[string]modalapi.EnvironmentRole) map[string]modalapi.EnvironmentRole {
	left := map[string]modalapi.EnvironmentRole{}
	for environment, role := range roles {
		if len(c.AllowedEnvironments) > 0 && !slices.Contains(c.AllowedEnvironments, environment) {
			continue
		}
		if c.MaxEnvironmentRole != "" {
			role = lesser(role, c.MaxEnvironmentRole)
		}
		left[environment] = role
	}
	return left
}
