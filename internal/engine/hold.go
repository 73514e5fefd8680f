// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// lastUsedBudget bounds the question when a token was used last, which a read asks beside its own work.
const lastUsedBudget = 3 * time.Second

// stillUsed says whether a previous token lives on, as its role wants, because Modal says that somebody
// uses it: after the rotation, within two refresh intervals, and not the engine itself.
func (e *Engine) stillUsed(ctx context.Context, a *admin, entry *Revocation) (bool, error) {
	if entry.Forced || entry.Begun || !e.Now().Before(entry.HoldUntil) {
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
	lately := e.Now().Add(-2 * entry.Refresh)
	return user.LastUsedAt.After(later(entry.Since, later(lately, e.askedSelf(entry.ID)))), nil
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

// noteAsked remembers that the engine itself has just used a previous token.
func (e *Engine) noteAsked(id string) {
	e.checks.Lock()
	defer e.checks.Unlock()
	e.asked[id] = e.deps.Now()
}

// askedSelf is when this process used a previous token last, a moment later.
func (e *Engine) askedSelf(id string) time.Time {
	e.checks.Lock()
	defer e.checks.Unlock()
	at, known := e.asked[id]
	if !known {
		return time.Time{}
	}
	return at.Add(2 * time.Second)
}

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
