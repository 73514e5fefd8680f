// SPDX-License-Identifier: MPL-2.0

package state

import (
	"cmp"
	"context"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// Verify asks the server that a token belongs to for the token's owner, and returns the token with the answer.
func (m *Mount) Verify(ctx context.Context, cfg *model.Config, t model.Token) (model.Token, error) {
	who, err := m.WhoIs(ctx, cfg, t)
	if modalapi.BareHTTP(err) && !m.acceptsAdmin(ctx, cfg, t) {
		err = modalapi.AsUnavailable(err)
	}
	if err != nil {
		return model.Token{}, err
	}
	return m.Verified(cfg, t, who), nil
}

// acceptsAdmin reports whether Modal accepts the admin token, as a witness for a token that was rejected with a bare HTTP
// status.
func (m *Mount) acceptsAdmin(ctx context.Context, cfg *model.Config, t model.Token) bool {
	if cfg.Admin == nil || !cfg.Admin.Verified() || cfg.Admin.ID == t.ID || !cfg.Serves(t) {
		return false
	}
	_, err := m.WhoIs(ctx, cfg, *cfg.Admin)
	return err == nil
}

// Verified returns the token with Modal's answer about its owner.
func (m *Mount) Verified(cfg *model.Config, t model.Token, who modalapi.Identity) model.Token {
	return model.Token{
		ID: t.ID, Secret: t.Secret,
		WorkspaceID: who.WorkspaceID, Workspace: who.WorkspaceName,
		IdentityType: who.Kind, IdentityID: who.ID, Identity: who.Name,
		CreatedAt: model.WholeSeconds(who.CreatedAt), ExpiresAt: model.WholeSeconds(who.ExpiresAt),
		LastVerified: m.Now(), ServerURL: cmp.Or(t.ServerURL, cfg.ServerURL), CreatedByMount: t.CreatedByMount, ClockOffset: t.ClockOffset,
	}
}
