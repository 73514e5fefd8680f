// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// NotePausedIn completes a text about the engine's own work: if the engine is paused, the text also says so.
func (m *Mount) NotePausedIn(cfg *model.Config, text string) string {
	if !cfg.Paused {
		return text
	}
	return fmt.Sprintf("%s; the engine is paused, so it does nothing by itself until: %s", text, m.Commands().Unpause())
}

// AdminExpiryWarning warns of an admin token that expires within 30 days.
func (m *Mount) AdminExpiryWarning(c *model.Config) string {
	now := m.Now()
	if c.Admin == nil || c.Admin.ExpiresAt.IsZero() || c.Admin.LocalExpiry().Sub(now) > model.ExpiryWarnings[0] {
		return ""
	}
	if c.Admin.Expired(now) {
		return fmt.Sprintf("the admin token %s expired on %s: managed roles keep their tokens and cannot rotate; write a new admin token: %s",
			c.Admin.ID, c.Admin.ExpiresAt.Format(time.RFC3339), m.Commands().WriteAdmin())
	}
	return fmt.Sprintf("the admin token %s expires on %s: write a new admin token before then: %s",
		c.Admin.ID, c.Admin.ExpiresAt.Format(time.RFC3339), m.Commands().WriteAdmin())
}

// FirstToken says how an operator gives a static role its first token.
func (m *Mount) FirstToken(name string) string {
	return fmt.Sprintf("approves a token in a browser (%s) or brings a token (%s)", m.Commands().Approve(name), m.Commands().BringToken(name))
}

// NotePaused is NotePausedIn with the stored config.
func (m *Mount) NotePaused(ctx context.Context, text string) string {
	cfg, err := m.LoadConfig(ctx)
	if err != nil {
		return text
	}
	return m.NotePausedIn(cfg, text)
}

// NoteDelay completes a text about a deletion by the engine: if the engine does not delete now, the text also says why.
func (m *Mount) NoteDelay(ctx context.Context, text string) string {
	if paused := m.NotePaused(ctx, text); paused != text {
		return paused
	}
	if outOfSync, failed := m.IsOutOfSync(ctx); failed == nil && outOfSync {
		return text + "; the mount is out of sync, so the engine deletes nothing until an operator decides: " + m.Commands().ListOrphans()
	}
	return text
}
