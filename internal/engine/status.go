// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"time"
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

// Status is all that an alarm needs: how many roles and entries of the ledger are in each state.
type Status struct {
	Roles, Revocations map[string]int
	Paused, OutOfSync  bool
	Admin              string
	AdminExpires       time.Time
	// Compared is when storage was last compared with Modal, zero for never since the start.
	Compared                 time.Time
	UnreadableRoles          []string
	UnreadableRevocations    []string
	AllRoles, AllRevocations int
}

// Status counts roles and entries. What cannot be read counts among all, and in no state.
func (e *Engine) Status(ctx context.Context) (*Status, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	rotations, lostRoles, err := e.Rotations(ctx)
	if err != nil {
		return nil, err
	}
	entries, lostEntries, err := e.Ledger(ctx)
	if err != nil {
		return nil, err
	}
	s := &Status{
		Roles: map[string]int{}, Revocations: map[string]int{}, Paused: cfg.Paused, Admin: cfg.State(e.Now()), Compared: e.guard.lastCompared(),
		UnreadableRoles: lostRoles, UnreadableRevocations: lostEntries,
		AllRoles: len(rotations) + len(lostRoles), AllRevocations: len(entries) + len(lostEntries),
	}
	if s.OutOfSync, err = e.OutOfSync(ctx); err != nil {
		return nil, err
	}
	for _, r := range rotations {
		s.Roles[r.State()]++
	}
	for _, entry := range entries {
		s.Revocations[entry.State(e.Now())]++
	}
	if cfg.Admin != nil {
		s.AdminExpires = cfg.Admin.ExpiresAt
	}
	return s, nil
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
