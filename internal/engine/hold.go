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
	used := e.usedByOthers(entry, user.LastUsedAt)
	entry.LastUsed = seconds(used)
	return used.After(later(entry.Since, e.Now().Add(-2*entry.Refresh))), nil
}

// mayBeHeld says whether the token lives on at this time if it is used. The engine asks nothing with it
// then by itself, which Modal would take for a use.
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

// asking is when the engine itself used a previous token last, and when others had by then.
type asking struct{ at, used time.Time }

// asks remembers who used a previous token before the engine does: Modal knows the last use alone. What
// it returns is called after the answer.
func (e *Engine) asks(ctx context.Context, entry *Revocation) (answered func()) {
	if !entry.mayBeHeld(e.Now()) {
		return func() {}
	}
	used := e.usedByOthers(entry, e.LastUsed(ctx, entry))
	return func() {
		e.checks.Lock()
		defer e.checks.Unlock()
		e.asked[entry.ID] = asking{e.deps.Now(), used}
	}
}

// usedByOthers is when others used a previous token last, as far as this process knows: told is what Modal says.
func (e *Engine) usedByOthers(entry *Revocation, told time.Time) time.Time {
	e.checks.Lock()
	defer e.checks.Unlock()
	if own, known := e.asked[entry.ID]; known && !told.After(own.at.Add(2*time.Second)) {
		return later(own.used, entry.LastUsed)
	}
	return told
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
