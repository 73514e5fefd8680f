// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/store"
)

// States of the admin token.
const (
	AdminNone       = "none"
	AdminUnverified = "unverified"
	AdminExpired    = "expired"
	AdminLimited    = "limited"
	AdminRejected   = "rejected"
	AdminOK         = "ok"
)

// expiryWarning is how long before its expiry a token counts as expiring.
const expiryWarning = 30 * Day

// Status is all that an alarm needs: how many roles and revocations are in each state. An unreadable one
// counts among all, and in no state. Expiring are the roles whose current token expires soon, before the
// engine rotates it by itself.
type Status struct {
	Roles, Revocations                     map[string]int
	AllRoles, AllRevocations               int
	UnreadableRoles, UnreadableRevocations int
	Expiring                               int
	Paused, OutOfSync                      bool
	Admin                                  string
	AdminExpires                           time.Time
	// Compared is when storage was last compared with Modal, zero for never since the start.
	Compared time.Time
}

// Status counts roles and revocations.
func (e *Engine) Status(ctx context.Context) (*Status, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	rotations, lostRoles, err := e.Rotations(ctx)
	if err != nil {
		return nil, err
	}
	leftovers, err := e.unreadableLeftovers(ctx)
	if err != nil {
		return nil, err
	}
	entries, lostEntries, err := e.Ledger(ctx)
	if err != nil {
		return nil, err
	}
	s := &Status{
		Roles: map[string]int{}, Revocations: map[string]int{}, Paused: cfg.Paused, Admin: cfg.State(e.Now()), Compared: e.guard.lastCompared(),
		UnreadableRoles: len(lostRoles) + leftovers, UnreadableRevocations: len(lostEntries),
		AllRoles: len(rotations) + len(lostRoles) + leftovers, AllRevocations: len(entries) + len(lostEntries),
	}
	if s.OutOfSync, err = e.OutOfSync(ctx); err != nil {
		return nil, err
	}
	for _, r := range rotations {
		s.Roles[r.State()]++
		if r.expiring(e.Now()) {
			s.Expiring++
		}
	}
	for _, entry := range entries {
		s.Revocations[entry.State(e.Now())]++
	}
	if cfg.Admin != nil {
		s.AdminExpires = cfg.Admin.ExpiresAt
	}
	return s, nil
}

// expiring reports whether the current token expires soon, before the engine rotates it by itself.
func (r *Rotation) expiring(now time.Time) bool {
	expires := r.Cred.ExpiresAt
	if expires.IsZero() || expires.After(now.Add(expiryWarning)) {
		return false
	}
	next := r.nextAttempt(now)
	return next.IsZero() || !next.Before(expires)
}

// unreadableLeftovers counts the unreadable credentials without a role, as an interrupted delete may leave
// them. They stop the end of other tokens as those of roles do, and a delete with force removes them.
func (e *Engine) unreadableLeftovers(ctx context.Context) (count int, err error) {
	names, err := e.credentials.List(ctx)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if _, failed := e.credentials.Get(ctx, name); !store.IsUnreadable(failed) {
			continue
		}
		if r, failed := e.roles.Get(ctx, name); r == nil && failed == nil {
			count++
		}
	}
	return count, nil
}

// State is how the admin token stands, as far as the engine knows without asking Modal.
func (c *Config) State(now time.Time) string {
	switch {
	case c.Admin == nil:
		return AdminNone
	case c.Admin.expired(now):
		return AdminExpired
	case !c.AdminRejected.IsZero():
		return AdminRejected
	case !c.Admin.Verified():
		return AdminUnverified
	case c.Limitation != "":
		return AdminLimited
	}
	return AdminOK
}
