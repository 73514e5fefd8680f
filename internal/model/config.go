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

// Limits of the fields of config.
const (
	MinRequestTimeout = time.Second
	MaxRequestTimeout = 2 * time.Minute

	MinVerification = 10 * time.Minute
	MaxVerification = 90 * Day

	MaxServerURL = 512
	MaxCACert    = 64 << 10

	MaxWorkspace = 128
)

// Config says how the engine reaches Modal, which admin token it uses, and which limits apply to roles.
type Config struct {
	// ServerURL is Modal's address, in one spelling.
	ServerURL string `json:"server_url"`
	// CACert is the PEM bundle that ServerURL is checked against. It is empty for the system's roots.
	CACert string `json:"ca_cert,omitempty"`
	// RequestTimeout bounds one call to Modal.
	RequestTimeout time.Duration `json:"request_timeout"`
	// Admin is the admin token. It may be nil, because static roles work without an admin token.
	Admin *Token `json:"admin,omitempty"`
	// Limitation says why the admin token cannot manage service users. It is empty for a token that can.
	Limitation string `json:"limitation,omitempty"`
	// AllowedEnvironments limits the environments that roles may name. An empty list allows every environment.
	AllowedEnvironments []string `json:"allowed_environments,omitempty"`
	// MaxEnvironmentRole is the highest environment role that roles may give. It is empty for no limit.
	MaxEnvironmentRole modalapi.EnvironmentRole `json:"max_environment_role,omitempty"`
	// Paused stops everything that the worker does at Modal by itself. Operators can still act.
	Paused bool `json:"paused,omitempty"`
	// PinnedWorkspace is the name or the ID of the workspace that every supplied or approved token must belong to.
	PinnedWorkspace string `json:"pinned_workspace,omitempty"`

	// VerificationInterval is how often the engine verifies each current token. It is nil for the default, and 0 for
	// never.
	VerificationInterval *time.Duration `json:"verification_interval,omitempty"`
	// AdminChecked is when the engine last asked Modal about the admin token.
	AdminChecked time.Time `json:"admin_checked,omitzero"`
	// AdminRejected is since when Modal rejects the admin token. It is zero while Modal accepts it.
	AdminRejected time.Time `json:"admin_rejected,omitzero"`
}

// DefaultVerification is the default of verification_interval.
const DefaultVerification = Day

// VerificationEvery returns how often the engine verifies each current token. It is 0 for never.
func (c *Config) VerificationEvery() time.Duration {
	if c.VerificationInterval == nil {
		return DefaultVerification
	}
	return *c.VerificationInterval
}

// DefaultConfig applies to a mount without a stored config. All readers share it, so it must not be changed.
var DefaultConfig = &Config{ServerURL: modalapi.DefaultServerURL, RequestTimeout: modalapi.DefaultTimeout}

// Merge returns the config after a write. The write's admin token is not part of the merge.
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

// CheckRole refuses a role that asks for more than the limits of config allow.
func (c *Config) CheckRole(r *Role) error { return c.CheckAccess(r.Access()) }

// CheckAccess refuses access that exceeds the limits of config.
func (c *Config) CheckAccess(access *Access) error {
	if limits := c.LimitsText(); limits != "" && !access.Scoped {
		return UserErrorf("scoped=false exceeds config's %s: write scoped=true to the role", limits)
	}
	for _, environment := range slices.Sorted(maps.Keys(access.EnvironmentRoles)) {
		if len(c.AllowedEnvironments) > 0 && !slices.Contains(c.AllowedEnvironments, environment) {
			return UserErrorf("environment %s is not among config's allowed_environments (%s): remove the environment from the role's environment_roles, or add it to allowed_environments",
				environment, strings.Join(c.AllowedEnvironments, ", "))
		}
		if c.MaxEnvironmentRole == modalapi.RoleViewer && access.EnvironmentRoles[environment] != modalapi.RoleViewer {
			return UserErrorf("%s in environment %s is more than config's max_environment_role (viewer): write %s=viewer to the role, or raise max_environment_role",
				access.EnvironmentRoles[environment], environment, environment)
		}
	}
	return nil
}

// LimitsText names the limits that are set. It is empty if there are none.
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

// CheckReach refuses to manage a service user of another Modal server, or of another workspace than the admin
// token's.
func (c *Config) CheckReach(t Token) error {
	if !c.Serves(t) {
		return UserErrorf("token %s belongs to %s, but the admin token in config belongs to %s and cannot manage it: write server_url=%s to config, with an admin token of that server",
			cmp.Or(t.ID, t.Identity), t.ServerURL, c.ServerURL, t.ServerURL)
	}
	if c.Admin == nil || !c.Admin.Verified() || t.WorkspaceID == "" || c.Admin.WorkspaceID == t.WorkspaceID {
		return nil
	}
	return UserErrorf("token %s is in workspace %q, but the admin token in config belongs to workspace %q: write an admin token of workspace %q to config",
		cmp.Or(t.ID, t.Identity), t.Workspace, c.Admin.Workspace, t.Workspace)
}

// Serves reports whether a token belongs to the configured Modal server. A token without a stored server does.
func (c *Config) Serves(t Token) bool {
	return t.ServerURL == "" || SameServer(t.ServerURL, c.ServerURL)
}

// ClientServerURL returns the MODAL_SERVER_URL that a client of the token needs. It is empty for the server that
// clients use by default.
func (c *Config) ClientServerURL(t Token) string {
	if url := cmp.Or(t.ServerURL, c.ServerURL); url != modalapi.DefaultServerURL {
		return url
	}
	return ""
}

// SameServer reports whether two URLs name the same server. An older version may have stored a URL with capitals.
func SameServer(a, b string) bool { return strings.EqualFold(a, b) }

// ReachesSameServer reports whether two configs reach the same Modal and trust the same certificates.
func (c *Config) ReachesSameServer(other *Config) bool {
	return SameServer(c.ServerURL, other.ServerURL) && modalapi.SameRoots(c.CACert, other.CACert)
}

// RootsFor returns the CA bundle that a server is checked against. That is config's bundle for config's server. For
// any other server it is empty, which stands for the system's roots.
func (c *Config) RootsFor(serverURL string) string {
	if c.Serves(Token{ServerURL: serverURL}) {
		return c.CACert
	}
	return ""
}

// LogChanges returns log pairs about changes of where secrets are sent and of what roles may ask for.
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

// Within returns environment roles, reduced to the limits of config.
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
