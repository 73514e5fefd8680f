// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// WhilePaused adds to a text that promises what the engine will do by itself that the engine is paused, where it is.
func (m *Mount) WhilePaused(cfg *model.Config, text string) string {
	if !cfg.Paused {
		return text
	}
	return fmt.Sprintf("%s; the engine is paused, so it does nothing by itself until: vault write %sconfig paused=false", text, m.CommandPrefix())
}

// AdminExpiryWarning is what to say of an admin token that expires within a month.
func (m *Mount) AdminExpiryWarning(c *model.Config) string {
	now := m.Now()
	if c.Admin == nil || c.Admin.ExpiresAt.IsZero() || c.Admin.LocalExpiry().Sub(now) > model.ExpiryWarnings[0] {
		return ""
	}
	if c.Admin.Expired(now) {
		return fmt.Sprintf("the admin token %s expired on %s: managed roles keep their tokens and cannot rotate; write a new one: %s",
			c.Admin.ID, c.Admin.ExpiresAt.Format(time.RFC3339), m.WriteAdmin())
	}
	return fmt.Sprintf("the admin token %s expires on %s: write a new one before: %s",
		c.Admin.ID, c.Admin.ExpiresAt.Format(time.RFC3339), m.WriteAdmin())
}

// RotateCommand replaces a role's token.
func (m *Mount) RotateCommand(r *model.Role, name string) string {
	if r.Managed != nil {
		return fmt.Sprintf("vault write -f %srotate/%s", m.CommandPrefix(), name)
	}
	return fmt.Sprintf("vault write %srotate/%s token_id=… token_secret=-", m.CommandPrefix(), name)
}

// FirstToken is how a static role gets its first token.
func (m *Mount) FirstToken(name string) string {
	return fmt.Sprintf("approves one in a browser (vault write -f %srotate/%s/approval) or brings one (vault write %srotate/%s token_id=… token_secret=-)",
		m.CommandPrefix(), name, m.CommandPrefix(), name)
}

// UnlessPaused is a text about what the engine will do by itself, and says so where the engine is paused.
func (m *Mount) UnlessPaused(ctx context.Context, text string) string {
	cfg, err := m.LoadConfig(ctx)
	if err != nil {
		return text
	}
	return m.WhilePaused(cfg, text)
}

// Promise is a text about what the engine will delete by itself, followed by the reason why it does not do that now.
func (m *Mount) Promise(ctx context.Context, text string) string {
	if told := m.UnlessPaused(ctx, text); told != text {
		return told
	}
	if outOfSync, failed := m.IsOutOfSync(ctx); failed == nil && outOfSync {
		return text + "; the mount is out of sync, so the engine deletes nothing until an operator decides: " + m.Commands().ListDetailed("orphans")
	}
	return text
}
