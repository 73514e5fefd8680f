// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// Credentials is the answer of the creds paths for a role: its settings, its current token and the token's server.
// ServerURL is empty if it is the default of Modal's clients.
type Credentials struct {
	Name      string
	Role      *model.Role
	Cred      *model.Credential
	ServerURL string
	// VerifiedElsewhere says that this role has the token unverified, and that another role or config has it
	// verified.
	VerifiedElsewhere bool
	commands          model.Commands
}

// Credentials returns nil for a role that does not exist. For a dynamic role it returns no token, because each read
// gets its own token from [Leases.Create].
func (rt *Rotations) Credentials(ctx context.Context, name string) (*Credentials, error) {
	r, cred, err := rt.mount.Current(ctx, name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return rt.credentialsWithoutToken(ctx, name)
	}
	cfg, err := rt.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	c := &Credentials{Name: name, Role: r, Cred: cred, ServerURL: cfg.ClientServerURL(cred.Token), commands: rt.mount.Commands()}
	if !cred.Verified() {
		c.VerifiedElsewhere, err = rt.owners.IsVerifiedElsewhere(ctx, cfg, name, cred.ID)
	}
	return c, err
}

// credentialsWithoutToken returns the credentials of a role without a current token: a dynamic role, whose tokens
// come from leases, or a static role that waits for its first token.
func (rt *Rotations) credentialsWithoutToken(ctx context.Context, name string) (*Credentials, error) {
	r, err := rt.mount.Roles.Get(ctx, name)
	if err != nil || r == nil {
		return nil, err
	}
	if r.Dynamic != nil {
		return &Credentials{Name: name, Role: r}, nil
	}
	return nil, model.UserErrorf("role %s has no token yet: an operator %s", name, rt.mount.FirstToken(name))
}

// Warnings returns nothing for a healthy role, because consumers log each warning on every read.
func (c *Credentials) Warnings(now time.Time) []string {
	due := c.Cred.RotateBy(c.Role)
	late := now.After(due)
	if c.Role.Managed != nil {
		late = now.After(due.Add(model.RotationTolerance))
	}
	switch {
	case c.Cred.Expired(now):
		return []string{fmt.Sprintf("token %s expired on %s, so Modal rejects it: replace it with: %s",
			c.Cred.ID, c.Cred.ExpiresAt.Format(time.RFC3339), c.remedy())}
	case !c.Cred.RejectedSince.IsZero():
		return []string{fmt.Sprintf("Modal has rejected token %s since %s: replace it with: %s",
			c.Cred.ID, c.Cred.RejectedSince.Format(time.RFC3339), c.remedy())}
	case c.VerifiedElsewhere:
		return []string{fmt.Sprintf("token %s was stored with verify=false, and another role of this mount or config has it as a verified token: replace it with: %s",
			c.Cred.ID, c.remedy())}
	case late:
		return []string{fmt.Sprintf("token %s should have been rotated by %s: replace it with: %s",
			c.Cred.ID, due.Format(time.RFC3339), c.remedy())}
	}
	return nil
}

// remedy returns the command that replaces the token.
func (c *Credentials) remedy() string {
	replace := c.commands.ReplaceToken(c.Role, c.Name)
	if c.Role.Managed != nil {
		replace += fmt.Sprintf(" (to see why the engine has not done so: %s)", c.commands.ReadRotation(c.Name))
	}
	return replace
}
