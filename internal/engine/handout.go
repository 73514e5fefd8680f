// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"
)

// Handout is what creds gives out of one role: its policy, its current token, and the server to tell
// clients of ("" when it is their default).
type Handout struct {
	Name      string
	Role      *Role
	Cred      *Credential
	ServerURL string
	// Elsewhere says that the token, which this role holds unverified, is verified in another role or in config.
	Elsewhere bool
	mount     string
}

// Handout is nil for a role that does not exist. That of a dynamic role has no token: each read gets one of
// its own from NewLease.
func (e *Engine) Handout(ctx context.Context, name string) (*Handout, error) {
	r, cred, err := e.current(ctx, name)
	if err != nil {
		return nil, err
	}
	if r == nil {
		return e.handoutOfNone(ctx, name)
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	h := &Handout{Name: name, Role: r, Cred: cred, ServerURL: cfg.clientServerURL(cred.Token), mount: e.mount()}
	if !cred.Verified() {
		h.Elsewhere, err = e.heldElsewhere(ctx, cfg, name, cred.ID)
	}
	return h, err
}

// handoutOfNone is that of a role without a token: a dynamic one, whose token a lease brings, a static one
// that waits for its first, or none.
func (e *Engine) handoutOfNone(ctx context.Context, name string) (*Handout, error) {
	r, err := e.roles.Get(ctx, name)
	if err != nil || r == nil {
		return nil, err
	}
	if r.Dynamic != nil {
		return &Handout{Name: name, Role: r}, nil
	}
	return nil, Refusef("role %s has no token yet: an operator %s", name, e.firstToken(name))
}

// Warnings are empty in the steady state: consumers log each on every read.
func (h *Handout) Warnings(now time.Time) []string {
	due := h.Cred.rotateBy(h.Role)
	late := now.After(due)
	if h.Role.Managed != nil {
		late = now.After(due.Add(tolerance))
	}
	switch {
	case h.Cred.expired(now):
		return []string{fmt.Sprintf("token %s expired on %s, so Modal refuses it: replace it with: %s",
			h.Cred.ID, h.Cred.ExpiresAt.Format(time.RFC3339), h.remedy())}
	case !h.Cred.Refused.IsZero():
		return []string{fmt.Sprintf("Modal refuses token %s since %s: replace it with: %s",
			h.Cred.ID, h.Cred.Refused.Format(time.RFC3339), h.remedy())}
	case h.Elsewhere:
		return []string{fmt.Sprintf("token %s was stored without asking Modal, and is a verified token of another role of this mount or of config: replace it with: %s",
			h.Cred.ID, h.remedy())}
	case late:
		return []string{fmt.Sprintf("token %s should have been rotated by %s: replace it with: %s",
			h.Cred.ID, due.Format(time.RFC3339), h.remedy())}
	}
	return nil
}

// remedy is the command that replaces the token.
func (h *Handout) remedy() string {
	if h.Role.Managed != nil {
		return fmt.Sprintf("vault write -f %srotate/%s (vault read %srotate/%s says what is in the engine's way)", h.mount, h.Name, h.mount, h.Name)
	}
	return fmt.Sprintf("vault write %srotate/%s token_id=… token_secret=-", h.mount, h.Name)
}
