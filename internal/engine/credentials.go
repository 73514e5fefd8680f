// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// Credentials is what creds gives out of one role: its policy, its current token, and the server to tell
// clients of ("" when it is their default).
type Credentials struct {
	Name      string
	Role      *model.Role
	Cred      *model.Credential
	ServerURL string
	// Elsewhere says that the token, which this role holds unverified, is verified in another role or in config.
	VerifiedElsewhere bool
	commandPrefix     string
}

// Credentials is nil for a role that does not exist. That of a dynamic role has no token: each read gets one of
// its own from NewLease.
func (rt *Rotations) Credentials(ctx context.Context, name string) (*Credentials, error) {
	r, cred, err := rt.mount.Current(ctx, name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return rt.credentialsOfNone(ctx, name)
	}
	cfg, err := rt.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	h := &Credentials{Name: name, Role: r, Cred: cred, ServerURL: cfg.ClientServerURL(cred.Token), commandPrefix: rt.mount.CommandPrefix()}
	if !cred.Verified() {
		h.VerifiedElsewhere, err = rt.owners.IsVerifiedElsewhere(ctx, cfg, name, cred.ID)
	}
	return h, err
}

// credentialsOfNone is that of a role without a token: a dynamic one, whose token a lease brings, a static one
// that waits for its first, or none.
func (rt *Rotations) credentialsOfNone(ctx context.Context, name string) (*Credentials, error) {
	r, err := rt.mount.Roles.Get(ctx, name)
	if err != nil || r == nil {
		return nil, err
	}
	if r.Dynamic != nil {
		return &Credentials{Name: name, Role: r}, nil
	}
	return nil, model.UserErrorf("role %s has no token yet: an operator %s", name, rt.mount.FirstToken(name))
}

// Warnings are empty in the steady state: consumers log each on every read.
func (h *Credentials) Warnings(now time.Time) []string {
	due := h.Cred.RotateBy(h.Role)
	late := now.After(due)
	if h.Role.Managed != nil {
		late = now.After(due.Add(model.RotationTolerance))
	}
	switch {
	case h.Cred.Expired(now):
		return []string{fmt.Sprintf("token %s expired on %s, so Modal refuses it: replace it with: %s",
			h.Cred.ID, h.Cred.ExpiresAt.Format(time.RFC3339), h.remedy())}
	case !h.Cred.RejectedSince.IsZero():
		return []string{fmt.Sprintf("Modal refuses token %s since %s: replace it with: %s",
			h.Cred.ID, h.Cred.RejectedSince.Format(time.RFC3339), h.remedy())}
	case h.VerifiedElsewhere:
		return []string{fmt.Sprintf("token %s was stored without asking Modal, and is a verified token of another role of this mount or of config: replace it with: %s",
			h.Cred.ID, h.remedy())}
	case late:
		return []string{fmt.Sprintf("token %s should have been rotated by %s: replace it with: %s",
			h.Cred.ID, due.Format(time.RFC3339), h.remedy())}
	}
	return nil
}

// remedy is the command that replaces the token.
func (h *Credentials) remedy() string {
	if h.Role.Managed != nil {
		return fmt.Sprintf("vault write -f %srotate/%s (vault read %srotate/%s says what is in the engine's way)", h.commandPrefix, h.Name, h.commandPrefix, h.Name)
	}
	return fmt.Sprintf("vault write %srotate/%s token_id=… token_secret=-", h.commandPrefix, h.Name)
}
