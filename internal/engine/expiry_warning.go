// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// expiryWarnings are how long before its expiry a token is warned about that the engine does not replace.
var expiryWarnings = []time.Duration{30 * Day, 7 * Day, Day}

// warning is how many of expiryWarnings were given for a token with some expiry.
type warning struct {
	tokenID string
	expiry  time.Time
	reached int
}

// warningFor is the warning that is due now for a token that expires.
func warningFor(t Token, now time.Time) warning {
	left := t.expiry().Sub(now)
	reached := slices.IndexFunc(expiryWarnings, func(before time.Duration) bool { return left > before })
	if reached == -1 {
		reached = len(expiryWarnings)
	}
	return warning{t.ID, t.expiry(), reached}
}

// warn notes that a warning is given, once each, and reports whether it was not given before. It is remembered by
// this process alone: another one warns once more.
func (e *Engine) warn(name string, due warning) bool {
	e.checks.Lock()
	defer e.checks.Unlock()
	if due == e.warned[name] {
		return false
	}
	if e.warned[name] = due; due.reached == 0 {
		delete(e.warned, name)
	}
	return due.reached > 0
}

// given is the warning that was given last for a token. One for another token, or another expiry, is forgotten.
func (e *Engine) given(name string, t Token) warning {
	e.checks.Lock()
	defer e.checks.Unlock()
	last := e.warned[name]
	if last.tokenID != t.ID || !last.expiry.Equal(t.expiry()) {
		delete(e.warned, name)
		return warning{}
	}
	return last
}

// warnOfExpiry logs and sends an event when a token comes within 30, 7 and 1 days of its end and the engine does not
// replace it. Each warning comes once, and once more after a restart. Roles that cannot be looked up until begin is over are left to
// the next tick.
func (e *Engine) warnOfExpiry(ctx, begin context.Context) error {
	return errors.Join(e.warnOfAdmin(ctx), e.warnOfRoles(ctx, begin))
}

func (e *Engine) warnOfAdmin(ctx context.Context) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	due := warning{}
	if e.ExpiryWarning(cfg) != "" {
		due = warningFor(*cfg.Admin, e.Now())
	}
	if e.warn(adminName, due) {
		e.log().Warn("admin token expires", "token_id", cfg.Admin.ID, "expires_at", cfg.Admin.ExpiresAt, "next_step", e.writeAdmin())
		e.event(ctx, Event{Kind: EventExpiryWarning, TokenID: cfg.Admin.ID})
	}
	return nil
}

// ExpiryWarning is what to say of an admin token that expires within a month.
func (e *Engine) ExpiryWarning(c *Config) string {
	now := e.Now()
	if c.Admin == nil || c.Admin.ExpiresAt.IsZero() || c.Admin.expiry().Sub(now) > expiryWarnings[0] {
		return ""
	}
	if c.Admin.expired(now) {
		return fmt.Sprintf("the admin token %s expired on %s: managed roles keep their tokens and cannot rotate; write a new one: %s",
			c.Admin.ID, c.Admin.ExpiresAt.Format(time.RFC3339), e.writeAdmin())
	}
	return fmt.Sprintf("the admin token %s expires on %s: write a new one before: %s",
		c.Admin.ID, c.Admin.ExpiresAt.Format(time.RFC3339), e.writeAdmin())
}

// warnOfRoles warns of the current tokens of roles.
func (e *Engine) warnOfRoles(ctx, begin context.Context) error {
	due, err := e.dueWarnings.due(begin, e.Now(), source{
		list: func(ctx context.Context) ([]string, error) { return e.roles.List(ctx) },
		next: func(ctx context.Context, name string) (time.Time, error) {
			r, err := e.rotation(ctx, name)
			if err != nil || r == nil {
				e.given(name, Token{})
				return time.Time{}, err
			}
			return r.warnAt(e.given(name, r.Cred.Token)), nil
		},
		failed: func(name string, err error) {
			e.log().Error("cannot tell when the token of a role expires", "role", name, "error", err)
		},
	})
	if begin.Err() != nil {
		return nil //nolint:nilerr // the next tick has time again
	}
	for _, name := range due {
		e.dueWarnings.touch(name)
		r, failed := e.rotation(ctx, name)
		if failed != nil || r == nil {
			err = errors.Join(err, failed)
			continue
		}
		if r.Expiring(e.Now()) && e.warn(name, warningFor(r.Cred.Token, e.Now())) {
			e.log().Warn("a role's token expires", "role", name, "type", r.Role.Type, "version", r.Cred.Version, "token_id", r.Cred.ID,
				"expires_at", r.Cred.ExpiresAt, "next_step", e.rotateCommand(r.Role, name))
			e.event(ctx, Event{Kind: EventExpiryWarning, Role: name, Version: r.Cred.Version, TokenID: r.Cred.ID})
		}
	}
	return err
}

// replacesInTime reports whether the engine replaces the current token by itself, as far as it can tell now.
func (r *Rotation) replacesInTime() bool {
	return r.Role.Managed != nil && !r.Role.Managed.Disabled && r.Cred.Attempts == 0 && r.Late == 0
}

// Expiring reports whether the current token expires within a month, or has expired, and the engine does not replace
// it by itself.
func (r *Rotation) Expiring(now time.Time) bool {
	return !r.Cred.ExpiresAt.IsZero() && r.Cred.expiry().Sub(now) <= expiryWarnings[0] && !r.replacesInTime()
}

// warnAt is when the expiry of the current token is to be warned of next, zero for never. A role that the engine
// rotates is looked at again when that is late.
func (r *Rotation) warnAt(given warning) time.Time {
	if r.Cred.ExpiresAt.IsZero() || given.reached == len(expiryWarnings) {
		return time.Time{}
	}
	at := r.Cred.expiry().Add(-expiryWarnings[given.reached])
	if r.replacesInTime() {
		return later(at, r.Next.Add(tolerance))
	}
	return at
}

// shortLife warns of a token of a static role that expires before the role's rotation period is over.
func (e *Engine) shortLife(name string, r *Role, t Token) []string {
	if r.Type != TypeStatic || t.ExpiresAt.IsZero() || !t.expiry().Before(e.Now().Add(r.RotationPeriod)) {
		return nil
	}
	e.log().Warn("the token expires within the rotation period", "role", name, "token_id", t.ID, "expires_at", t.ExpiresAt)
	return []string{fmt.Sprintf("token %s expires on %s, within the role's rotation_period of %s: replace it before that with: %s",
		t.ID, t.ExpiresAt.Format(time.RFC3339), Human(r.RotationPeriod), e.rotateCommand(r, name))}
}
