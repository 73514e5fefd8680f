// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
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

// defaults hold where nothing was configured. Like every cached entry they are never changed.
var defaults = &Config{ServerURL: modalapi.DefaultServerURL, RequestTimeout: modalapi.DefaultTimeout}

// loadConfig returns the defaults where nothing was configured: static roles need no more.
func (e *Engine) loadConfig(ctx context.Context) (*Config, error) {
	cfg, err := e.config.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	if cfg == nil {
		return defaults, nil
	}
	return cfg, nil
}

// merge is the config with what a write says, the admin token apart.
func (c Config) merge(ask ConfigWrite) *Config {
	c.ServerURL = ask.ServerURL.Over(c.ServerURL, modalapi.DefaultServerURL)
	c.CACert = ask.CACert.Over(c.CACert, "")
	c.RequestTimeout = ask.RequestTimeout.Over(c.RequestTimeout, modalapi.DefaultTimeout)
	c.AllowedEnvironments = ask.AllowedEnvironments.Over(c.AllowedEnvironments, nil)
	c.MaxEnvironmentRole = ask.MaxEnvironmentRole.Over(c.MaxEnvironmentRole, "")
	c.Paused = ask.Paused.Over(c.Paused, false)
	c.PinnedWorkspace = ask.PinnedWorkspace.Over(c.PinnedWorkspace, "")
	if every := ask.VerificationInterval.Over(c.VerificationEvery(), DefaultVerification); every != c.VerificationEvery() {
		c.VerificationInterval = &every
	}
	return &c
}

// permits refuses a role that asks for more than the ceilings allow.
func (c *Config) permits(r *Role) error { return c.allows(r.access()) }

// allows refuses access that is more than the ceilings allow.
func (c *Config) allows(access *Access) error {
	if ceilings := c.ceilings(); ceilings != "" && !access.Scoped {
		return Refusef("scoped=false reaches past config's %s: write scoped=true to the role", ceilings)
	}
	for _, environment := range slices.Sorted(maps.Keys(access.EnvironmentRoles)) {
		if len(c.AllowedEnvironments) > 0 && !slices.Contains(c.AllowedEnvironments, environment) {
			return Refusef("environment %s is not among config's allowed_environments (%s): take it out of the role's environment_roles, or add it there",
				environment, strings.Join(c.AllowedEnvironments, ", "))
		}
		if c.MaxEnvironmentRole == modalapi.RoleViewer && access.EnvironmentRoles[environment] != modalapi.RoleViewer {
			return Refusef("%s in environment %s is more than config's max_environment_role (viewer): write %s=viewer to the role, or raise that",
				access.EnvironmentRoles[environment], environment, environment)
		}
	}
	return nil
}

// ceilings names those that are set, "" for none.
func (c *Config) ceilings() string {
	var set []string
	if len(c.AllowedEnvironments) > 0 {
		set = append(set, fmt.Sprintf("allowed_environments (%s)", strings.Join(c.AllowedEnvironments, ", ")))
	}
	if c.MaxEnvironmentRole != "" {
		set = append(set, fmt.Sprintf("max_environment_role (%s)", c.MaxEnvironmentRole))
	}
	return strings.Join(set, " and ")
}

// reaches refuses to manage a service user of another Modal, or of a workspace that is not the admin's.
func (c *Config) reaches(t Token) error {
	if !c.serves(t) {
		return Refusef("token %s belongs to %s, and the admin token in config to %s, which cannot manage it: write server_url=%s to config, with an admin token of it",
			cmp.Or(t.ID, t.Identity), t.ServerURL, c.ServerURL, t.ServerURL)
	}
	if c.Admin == nil || !c.Admin.Verified() || t.WorkspaceID == "" || c.Admin.WorkspaceID == t.WorkspaceID {
		return nil
	}
	return Refusef("token %s is in workspace %q, and the admin token in config is of workspace %q: write an admin token of %q to config",
		cmp.Or(t.ID, t.Identity), t.Workspace, c.Admin.Workspace, t.Workspace)
}

// reaches is Config.reaches with the command that mends it.
func (e *Engine) reaches(cfg *Config, t Token) error {
	if err := cfg.reaches(t); err != nil {
		return Refusef("%s: %s", err, e.writeAdmin())
	}
	return nil
}

// serves says whether a token belongs to the configured Modal. One stored before tokens knew theirs does.
func (c *Config) serves(t Token) bool {
	return t.ServerURL == "" || sameServer(t.ServerURL, c.ServerURL)
}

// clientServerURL is what clients of a token have to be told of its server: nothing when it is their
// default.
func (c *Config) clientServerURL(t Token) string {
	if url := cmp.Or(t.ServerURL, c.ServerURL); url != modalapi.DefaultServerURL {
		return url
	}
	return ""
}

// sameServer compares URLs of which an older version may have stored one with capitals.
func sameServer(a, b string) bool { return strings.EqualFold(a, b) }

// like reports whether two configs reach the same Modal and trust the same certificates.
func (c *Config) like(other *Config) bool {
	return sameServer(c.ServerURL, other.ServerURL) && modalapi.SameRoots(c.CACert, other.CACert)
}

// rootsFor returns the CA bundle under which the engine reaches a server: that of config for its own
// server, and none, which stands for the system's roots, for any other.
func (c *Config) rootsFor(serverURL string) string {
	if c.serves(Token{ServerURL: serverURL}) {
		return c.CACert
	}
	return ""
}

func optionsOf(c *Config) clientOptions {
	return clientOptions{serverURL: c.ServerURL, caCert: c.CACert, timeout: c.RequestTimeout}
}

// privileges are log pairs that tell what a write changed of where secrets go and what roles may ask for.
func (c *Config) privileges(before *Config) []any {
	var pairs []any
	for _, field := range []struct{ name, now, then string }{
		{"server_url", c.ServerURL, before.ServerURL},
		{"admin_token", c.adminID(), before.adminID()},
		{"allowed_environments", strings.Join(c.AllowedEnvironments, ","), strings.Join(before.AllowedEnvironments, ",")},
		{"max_environment_role", string(c.MaxEnvironmentRole), string(before.MaxEnvironmentRole)},
		{"pinned_workspace", c.PinnedWorkspace, before.PinnedWorkspace},
	} {
		if field.now != field.then {
			pairs = append(pairs, field.name, field.now, field.name+"_before", field.then)
		}
	}
	if c.adminID() != before.adminID() {
		pairs = append(append(pairs, c.admin().Account().logged("")...), before.admin().Account().logged("_before")...)
	}
	if c.Paused != before.Paused {
		pairs = append(pairs, "paused", c.Paused)
	}
	if c.CACert != before.CACert {
		pairs = append(pairs, "ca_cert", "changed")
	}
	return pairs
}

// WhilePaused adds to a text that promises what the engine will do by itself that the engine is paused, where it is.
func (e *Engine) WhilePaused(cfg *Config, text string) string {
	if !cfg.Paused {
		return text
	}
	return fmt.Sprintf("%s; the engine is paused, so it does nothing by itself until: vault write %sconfig paused=false", text, e.mount())
}
