// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
	"vault-plugin-secrets-modal/internal/store"
)

// Statuses counts the roles and revocations of a mount.
type Statuses struct {
	mount *state.Mount
	guard *revocation.Guard
}

// Status is everything that an alarm needs: how many roles and revocations are in each state. An unreadable role or
// revocation counts among all, but in no state. Expiring is the number of roles whose current token expires soon and
// is not rotated by the engine before that.
type Status struct {
	Roles, Revocations                     map[string]int
	AllRoles, AllRevocations               int
	UnreadableRoles, UnreadableRevocations int
	Expiring                               int
	Paused, OutOfSync                      bool
	Admin                                  string
	AdminExpires                           time.Time
	// Compared is the time of the last comparison of storage with Modal since the start, or zero.
	Compared time.Time
}

// Read counts roles and revocations.
func (st *Statuses) Read(ctx context.Context) (*Status, error) {
	cfg, err := st.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	rotations, lostRoles, err := st.mount.Rotations(ctx)
	if err != nil {
		return nil, err
	}
	leftovers, err := st.unreadableLeftovers(ctx)
	if err != nil {
		return nil, err
	}
	entries, lostEntries, err := st.mount.AllRevocations(ctx)
	if err != nil {
		return nil, err
	}
	s := &Status{
		Roles: map[string]int{}, Revocations: map[string]int{}, Paused: cfg.Paused, Admin: cfg.State(st.mount.Now()), Compared: st.guard.LastCompared(),
		UnreadableRoles: len(lostRoles) + leftovers, UnreadableRevocations: len(lostEntries),
		AllRoles: len(rotations) + len(lostRoles) + leftovers, AllRevocations: len(entries) + len(lostEntries),
	}
	if s.OutOfSync, err = st.mount.IsOutOfSync(ctx); err != nil {
		return nil, err
	}
	for _, r := range rotations {
		s.Roles[r.State()]++
		if r.IsExpiring(st.mount.Now()) {
			s.Expiring++
		}
	}
	for _, entry := range entries {
		s.Revocations[entry.State(st.mount.Now())]++
	}
	if cfg.Admin != nil {
		s.AdminExpires = cfg.Admin.ExpiresAt
	}
	return s, nil
}

// unreadableLeftovers counts the unreadable credentials without a role, which an interrupted delete may leave. Like
// the unreadable credential of a role, they stop the engine from deleting tokens. A role delete with force removes
// them.
func (st *Statuses) unreadableLeftovers(ctx context.Context) (count int, err error) {
	names, err := st.mount.Credentials.List(ctx)
	if err != nil {
		return 0, err
	}
	for _, name := range names {
		if _, failed := st.mount.Credentials.Get(ctx, name); !store.IsUnreadable(failed) {
			continue
		}
		if r, failed := st.mount.Roles.Get(ctx, name); r == nil && failed == nil {
			count++
		}
	}
	return count, nil
}
