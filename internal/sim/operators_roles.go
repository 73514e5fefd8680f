// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"time"
)

// policy is what an operator may write of a managed role, sensible or not.
func (l *Life) policy() Policy {
	p := Policy{}
	if roll(l.rt, "environments", 2) == 1 {
		p.EnvironmentRoles = ptr([]string{"main=viewer", "main=contributor,staging=viewer", "staging=contributor", "nowhere=viewer"}[roll(l.rt, "environment_roles", 4)])
	}
	if roll(l.rt, "grace", 2) == 1 {
		p.Grace = ptr(l.duration("grace_period", day, time.Hour, 0, 3*day))
	}
	if roll(l.rt, "ttl", 4) == 3 {
		p.TTL = ptr(l.duration("token_ttl", 0, 40*day, 2*day))
	}
	switch roll(l.rt, "period", 4) {
	case 1, 2:
		p.Period = ptr(l.duration("rotation_period", 30*day, 7*day, 2*day))
	case 3:
		p.Schedule = ptr([]string{"0 3 * * 1", "30 4 1,15 * *", ""}[roll(l.rt, "rotation_schedule", 3)])
	}
	if roll(l.rt, "refresh", 4) == 3 {
		p.Refresh = ptr(l.duration("refresh_interval", 5*time.Minute, time.Hour))
	}
	switch roll(l.rt, "disabled", 8) {
	case 6:
		p.Disabled = ptr(true)
	case 7:
		p.Disabled = ptr(false)
	}
	if roll(l.rt, "scoped", 8) == 7 {
		p.Scoped = ptr(roll(l.rt, "scope", 2) == 0)
	}
	return p
}

func (l *Life) createManaged() {
	role, p := l.newRole(), l.policy()
	p.Type = ptr("managed")
	if p.EnvironmentRoles == nil {
		p.EnvironmentRoles = ptr("main=contributor")
	}
	l.note("create managed role %s: %s", role, p)
	l.await(l.begin(&operation{what: "create managed", role: role}, func(ctx context.Context, e Engine) error {
		return e.WriteRole(ctx, role, p)
	}))
}

// freshPair is a member's token, or one that the role must not take.
func (l *Life) freshPair() (pair *Pair, unproven bool) {
	switch roll(l.rt, "whose token", 8) {
	case 5:
		t := l.colleague.NewToken()
		return &Pair{t.ID, t.Secret}, false
	case 6: // one that some role has or had
		if pair := l.oracle.known(roll(l.rt, "which", 8)); pair != nil {
			return pair, false
		}
	case 7:
		t := l.owner.NewToken()
		secret := t.Secret
		if roll(l.rt, "mistyped", 2) == 1 {
			secret = "as-0000000000000000000000"
			l.oracle.excuse(t.ID, "its secret was mistyped")
		}
		return &Pair{t.ID, secret}, true
	}
	t := l.owner.NewToken()
	return &Pair{t.ID, t.Secret}, false
}

func (l *Life) createStatic() {
	role := l.newRole()
	pair, unproven := l.freshPair()
	p := Policy{Type: ptr("static"), Pair: pair, Unproven: unproven}
	l.oracle.bring(pair.ID, l.disk.truth().server)
	if roll(l.rt, "grace", 2) == 1 {
		p.Grace = ptr(l.duration("grace_period", day, time.Hour, 0, 3*day))
	}
	l.note("create static role %s: %s", role, p)
	l.await(l.begin(&operation{what: "create static", role: role}, func(ctx context.Context, e Engine) error {
		return e.WriteRole(ctx, role, p)
	}))
}

func (l *Life) writeRole() {
	role, p := l.anyRole(), l.policy()
	if l.disk.truth().roles[role].Type == "static" {
		p = Policy{Grace: p.Grace, Refresh: p.Refresh, Period: p.Period}
	}
	l.note("write role %s: %s", role, p)
	l.await(l.begin(&operation{what: "write role", role: role}, func(ctx context.Context, e Engine) error {
		return e.WriteRole(ctx, role, p)
	}))
}

func (l *Life) deleteRole() {
	role, force := l.anyRole(), roll(l.rt, "force", 4) == 3
	l.note("delete role %s, force: %t", role, force)
	l.await(l.begin(&operation{what: "delete role", role: role, force: force}, func(ctx context.Context, e Engine) error {
		return e.DeleteRole(ctx, role, force)
	}))
}
