// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/modalapi"
)

const (
	minRequestTimeout = time.Second
	maxRequestTimeout = 2 * time.Minute
)

// config is how the engine reaches Modal, and as whom. Admin is nil without an admin token, and
// Limitation is why that one cannot manage service users, where it cannot. The rest are ceilings for
// what roles may ask of a service user; without AllowedEnvironments every environment is allowed.
type config struct {
	ServerURL           string                   `json:"server_url"`
	CACert              string                   `json:"ca_cert,omitempty"`
	RequestTimeout      time.Duration            `json:"request_timeout"`
	Admin               *token                   `json:"admin,omitempty"`
	Limitation          string                   `json:"limitation,omitempty"`
	AllowedEnvironments []string                 `json:"allowed_environments,omitempty"`
	MaxEnvironmentRole  modalapi.EnvironmentRole `json:"max_environment_role,omitempty"`
}

// defaults hold where nothing was configured. Like every cached entry they are never changed.
var defaults = &config{ServerURL: modalapi.DefaultServerURL, RequestTimeout: modalapi.DefaultTimeout}

// loadConfig returns the defaults where nothing was configured: static roles need no more.
func (b *backend) loadConfig(ctx context.Context, s logical.Storage) (*config, error) {
	cfg, err := b.config.get(ctx, s, "")
	if err != nil {
		return nil, err
	}
	if cfg == nil {
		return defaults, nil
	}
	return cfg, nil
}

// merge is the config with what a request says of the connection: absent keeps, empty clears. The
// admin token is the caller's to settle.
func (c config) merge(d *framework.FieldData) (*config, error) {
	if raw, ok := d.GetOk(fieldServerURL); ok {
		c.ServerURL = modalapi.DefaultServerURL
		if text, _ := raw.(string); text != "" {
			url, err := modalapi.ParseServerURL(text)
			if err != nil {
				return nil, refusef("%s: %s; nothing was changed", fieldServerURL, err)
			}
			c.ServerURL = url
		}
	}
	if raw, ok := d.GetOk(fieldCACert); ok {
		c.CACert, _ = raw.(string)
		if err := modalapi.CheckCACert(c.CACert); c.CACert != "" && err != nil {
			return nil, refusef("%s: %s; nothing was changed", fieldCACert, err)
		}
	}
	if err := mergeDuration(d, fieldRequestTimeout, &c.RequestTimeout, modalapi.DefaultTimeout, minRequestTimeout, maxRequestTimeout); err != nil {
		return nil, err
	}
	return &c, c.mergeCeilings(d)
}

func (c *config) mergeCeilings(d *framework.FieldData) error {
	if raw, ok := d.GetOk(fieldAllowedEnvironments); ok {
		names, _ := raw.([]string)
		c.AllowedEnvironments = nil
		for _, name := range names {
			if err := checkEnvironment(fieldAllowedEnvironments, name); err != nil {
				return err
			}
			c.AllowedEnvironments = append(c.AllowedEnvironments, name)
		}
	}
	if raw, ok := d.GetOk(fieldMaxEnvironmentRole); ok {
		text, _ := raw.(string)
		switch limit := modalapi.EnvironmentRole(text); limit {
		case "", modalapi.RoleViewer, modalapi.RoleContributor:
			c.MaxEnvironmentRole = limit
		default:
			return refusef("max_environment_role %q is no role: use viewer or contributor; nothing was changed", text)
		}
	}
	return nil
}

// permits refuses a role that asks for more than the ceilings allow.
func (c *config) permits(r *role) error {
	if len(c.AllowedEnvironments) > 0 && !r.Managed.Scoped {
		return refusef("scoped=false reaches past config's allowed_environments (%s): leave scoped=true",
			strings.Join(c.AllowedEnvironments, ", "))
	}
	for _, environment := range slices.Sorted(maps.Keys(r.Managed.EnvironmentRoles)) {
		if len(c.AllowedEnvironments) > 0 && !slices.Contains(c.AllowedEnvironments, environment) {
			return refusef("environment %s is not among config's allowed_environments (%s)",
				environment, strings.Join(c.AllowedEnvironments, ", "))
		}
		if c.MaxEnvironmentRole == modalapi.RoleViewer && r.Managed.EnvironmentRoles[environment] != modalapi.RoleViewer {
			return refusef("%s in environment %s is more than config's max_environment_role (viewer)",
				r.Managed.EnvironmentRoles[environment], environment)
		}
	}
	return nil
}

// reaches refuses to manage a service user of another Modal, or of a workspace that is not the admin's.
func (c *config) reaches(t token) error {
	if !c.serves(t) {
		return refusef("token %s belongs to %s, and the admin token in config to %s, which cannot manage it: write server_url=%s and an admin token of it to config",
			cmp.Or(t.ID, t.Identity), t.ServerURL, c.ServerURL, t.ServerURL)
	}
	if c.Admin == nil || !c.Admin.verified() || t.WorkspaceID == "" || c.Admin.WorkspaceID == t.WorkspaceID {
		return nil
	}
	return refusef("token %s is in workspace %q, and the admin token in config is of workspace %q: write an admin token of %q to config",
		cmp.Or(t.ID, t.Identity), t.Workspace, c.Admin.Workspace, t.Workspace)
}

// serves says whether a token belongs to the configured Modal. One stored before tokens knew theirs does.
func (c *config) serves(t token) bool { return t.ServerURL == "" || t.ServerURL == c.ServerURL }

// clientServerURL is what clients of a token have to be told of its server: nothing when it is their
// default.
func (c *config) clientServerURL(t token) string {
	if url := cmp.Or(t.ServerURL, c.ServerURL); url != modalapi.DefaultServerURL {
		return url
	}
	return ""
}

// like says whether two configs talk to the same Modal in the same way.
func (c *config) like(other *config) bool {
	return c.ServerURL == other.ServerURL && c.CACert == other.CACert
}

func (c *config) clientOptions() clientOptions {
	return clientOptions{serverURL: c.ServerURL, caCert: c.CACert, timeout: c.RequestTimeout}
}

// mergeDuration reads a duration of a request into target: absent keeps, empty restores the default.
func mergeDuration(d *framework.FieldData, field string, target *time.Duration, def, low, high time.Duration) error {
	raw, present := d.GetOk(field)
	if !present {
		return nil
	}
	if d.Raw[field] == "" || d.Raw[field] == nil {
		*target = def
		return nil
	}
	secs, _ := raw.(int)
	// Compared in seconds, as an absurd number of them overflows a time.Duration.
	if secs < int(low/time.Second) || secs > int(high/time.Second) {
		return refusef("%s: %d seconds is outside %s to %s; nothing was changed", field, secs, low, high)
	}
	*target = time.Duration(secs) * time.Second
	return nil
}
