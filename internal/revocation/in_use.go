// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// LastUsedBudget limits the call to Modal that asks for a token's last use.
const LastUsedBudget = 3 * time.Second

// isStillUsed asks Modal, with the admin token, when a previous token was last used, and reports whether the token must
// live on.
func (rv *Revoker) isStillUsed(ctx context.Context, a *state.Admin, entry *model.Revocation) (bool, error) {
	if !entry.MayBeInUse(rv.mount.Now()) {
		return false, nil
	}
	user, err := a.FindServiceUser(ctx, entry.Identity)
	if modalapi.KindOf(err) == modalapi.KindNotFound {
		return false, nil
	}
	if err != nil {
		return false, a.Explain(err)
	}
	entry.LastUsed = model.WholeSeconds(user.LastUsedAt)
	return entry.CountsAsUse(user.LastUsedAt, rv.mount.Now()), nil
}

// LastUsed returns when the token of a revocation was last used, or zero if Modal does not tell.
func (rv *Revoker) LastUsed(ctx context.Context, entry *model.Revocation) time.Time {
	cfg, err := rv.mount.LoadConfig(ctx)
	if err != nil || entry.ServiceUserName() == "" || cfg.CheckReach(entry.Token) != nil {
		return entry.LastUsed
	}
	a, err := rv.mount.Admin(cfg)
	if err != nil {
		return entry.LastUsed
	}
	defer a.Release()
	brief, cancel := context.WithTimeout(ctx, LastUsedBudget)
	defer cancel()
	user, err := a.ServiceUser(brief, a.Token, entry.Identity)
	if err != nil {
		return entry.LastUsed
	}
	return model.WholeSeconds(user.LastUsedAt)
}
