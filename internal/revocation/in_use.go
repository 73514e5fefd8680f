// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// LastUsedBudget bounds the question when a token was used last, which a read asks beside its own work.
const LastUsedBudget = 3 * time.Second

// isStillUsed reports whether a previous token lives on because Modal says that it was used after the rotation and
// within the last two refresh intervals. The engine itself does not call Modal with such a token.
func (q *Queue) isStillUsed(ctx context.Context, a *state.Admin, entry *model.Revocation) (bool, error) {
	if !entry.MayBeInUse(q.mount.Now()) {
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
	used := user.LastUsedAt.Add(entry.ClockOffset) // by this node's clock
	return used.After(model.Later(entry.Since, q.mount.Now().Add(-2*entry.Refresh))), nil
}

// LastUsed is when the service user of an entry was used last, where Modal tells: zero for unknown.
func (q *Queue) LastUsed(ctx context.Context, entry *model.Revocation) time.Time {
	cfg, err := q.mount.LoadConfig(ctx)
	if err != nil || entry.ServiceUserName() == "" || cfg.CheckReach(entry.Token) != nil {
		return entry.LastUsed
	}
	a, err := q.mount.Admin(cfg)
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
