// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// lastUsedBudget bounds the question when a token was used last, which a read asks beside its own work.
const lastUsedBudget = 3 * time.Second

// stillUsed reports whether a previous token lives on because Modal says that it was used after the rotation and
// within the last two refresh intervals. The engine itself does not call Modal with such a token.
func (e *Engine) stillUsed(ctx context.Context, a *admin, entry *Revocation) (bool, error) {
	if !entry.mayBeHeld(e.Now()) {
		return false, nil
	}
	user, err := a.findServiceUser(ctx, entry.Identity)
	if modalapi.KindOf(err) == modalapi.KindNotFound {
		return false, nil
	}
	if err != nil {
		return false, a.explain(err)
	}
	entry.LastUsed = seconds(user.LastUsedAt)
	used := user.LastUsedAt.Add(entry.ClockOffset) // by this node's clock
	return used.After(later(entry.Since, e.Now().Add(-2*entry.Refresh))), nil
}

// mayBeHeld reports whether the token lives on at this time if it is used. Until then the engine calls Modal with it
// only for an undo, because Modal takes each call for a use.
func (r *Revocation) mayBeHeld(now time.Time) bool {
	return !r.Forced && !r.Begun && now.Before(r.HoldUntil)
}

// held is the entry of a token that is used still.
func (r Revocation) held(now time.Time) *Revocation {
	r.Held, r.Attempts, r.LastError = true, 0, ""
	r.NextAttempt = earlier(now.Add(max(r.Refresh, time.Minute)), r.HoldUntil)
	return &r
}

// isHeld says whether the last look found the token used still: one that the engine has begun to end is held
// no more.
func (r *Revocation) isHeld() bool { return r.Held && !r.Begun && r.Attempts == 0 }

// LastUsed is when the service user of an entry was used last, where Modal tells: zero for unknown.
func (e *Engine) LastUsed(ctx context.Context, entry *Revocation) time.Time {
	cfg, err := e.loadConfig(ctx)
	if err != nil || entry.serviceUser() == "" || cfg.reaches(entry.Token) != nil {
		return entry.LastUsed
	}
	a, err := e.admin(cfg)
	if err != nil {
		return entry.LastUsed
	}
	defer a.release()
	brief, cancel := context.WithTimeout(ctx, lastUsedBudget)
	defer cancel()
	user, err := a.ServiceUser(brief, a.token, entry.Identity)
	if err != nil {
		return entry.LastUsed
	}
	return seconds(user.LastUsedAt)
}
