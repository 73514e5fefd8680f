// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"errors"
	"time"
)

// ErrForwarded says that a standby did nothing, and that Vault forwards the request to the leader.
var ErrForwarded = errors.New("the request is forwarded to the leader")

// longestLag is the longest time after which a standby learns of a write.
const longestLag = 2 * time.Second

// invalidate tells the standby that a key changed. A standby may learn of a write late.
func (run *Run) invalidate(standby *node, key string) {
	if !run.conditions.LateInvalidation && !run.conditions.SlowStorage {
		standby.engine.Invalidate(standby.ctx, key)
		return
	}
	lag := time.Duration(1)
	if run.conditions.LateInvalidation {
		lag = run.lags.draw(key, longestLag)
	}
	run.late.Go(func() {
		time.Sleep(lag)
		if standby.ctx.Err() == nil {
			standby.engine.Invalidate(standby.ctx, key)
		}
	})
}

// mayLag reports whether the answer of a node may be out of date by longestLag.
func (run *Run) mayLag(name string) bool {
	return run.conditions.LateInvalidation && name != run.leader.name
}

// wasCurrent reports whether a token was the role's current one until a moment ago, or the role began or ended a
// moment ago. The caller holds o.mu.
func (o *oracle) wasCurrent(role string, got *Credentials) bool {
	recent := func(at time.Time) bool { return time.Since(at) <= longestLag+clockGrain }
	if got == nil || recent(o.lastRoleWrite[role]) {
		return recent(o.lastRoleWrite[role])
	}
	return o.record(got.ID).role == role && recent(o.record(got.ID).replacedAt)
}

// askStandby sends a request that writes, or calls Modal, to the standby. The standby must leave it to the leader.
func (run *Run) askStandby() {
	standby := run.standby
	if standby == nil {
		return
	}
	role := run.roleOf("managed", "static")
	what := []string{"rotate", "write role", "delete role", "verify", "retry", "write config", "tick"}[run.roll("request", 7)]
	run.logf("the standby %s is asked: %s %s", standby.name, what, role)
	id := run.anyRevocation()
	err := map[string]func(ctx context.Context, e Engine) error{
		"rotate": func(ctx context.Context, e Engine) error { _, err := e.Rotate(ctx, role, Rotation{}); return err },
		"write role": func(ctx context.Context, e Engine) error {
			return e.WriteRole(ctx, role, RoleSettings{Grace: ptr(day)})
		},
		"delete role":  func(ctx context.Context, e Engine) error { return e.DeleteRole(ctx, role, true) },
		"verify":       func(ctx context.Context, e Engine) error { _, err := e.Verify(ctx, role); return err },
		"retry":        func(ctx context.Context, e Engine) error { _, err := e.Retry(ctx, id, true); return err },
		"write config": func(ctx context.Context, e Engine) error { return e.WriteConfig(ctx, Config{Paused: ptr(true)}) },
		"tick":         func(ctx context.Context, e Engine) error { return errors.Join(e.Tick(ctx), ErrForwarded) },
	}[what](standby.ctx, standby.engine)
	run.report.count("a standby is asked: " + what)
	if !errors.Is(err, ErrForwarded) && standby.ctx.Err() == nil {
		run.broken("the standby did %s of role %s itself: %v", what, role, err)
	}
	if standby.network.used() {
		run.broken("the standby called Modal after it was asked: %s", what)
	}
}
