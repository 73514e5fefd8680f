// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"maps"
	"slices"
	"time"
)

// approvalFor is what an approval may be asked for: a static role nearly always, or the admin's.
func (l *Life) approvalFor() string {
	if roll(l.rt, "admin's", 4) == 3 {
		return ""
	}
	t := l.disk.truth()
	static := slices.DeleteFunc(t.names(), func(name string) bool { return t.roles[name].Type != "static" })
	if len(static) > 0 && roll(l.rt, "any role", 8) < 7 {
		return static[roll(l.rt, "static role", len(static))]
	}
	return l.anyRole()
}

// beginApproval asks for a page on which a person approves. Often somebody goes there at once.
func (l *Life) beginApproval() {
	role := l.approvalFor()
	a := Approval{Force: roll(l.rt, "force", 4) == 3}
	if roll(l.rt, "ttl", 4) == 3 {
		a.TTL = ptr(l.duration("token_ttl", 40*day, 2*day))
	}
	if roll(l.rt, "own grace", 3) == 2 {
		a.Grace = ptr(l.duration("grace_period", time.Hour, 0, 2*day))
	}
	if roll(l.rt, "lapse", 3) == 2 {
		a.LapseAfter = ptr(l.duration("lapse_after", time.Minute, 30*time.Minute, 5*time.Hour))
	}
	l.cutsHere(2)
	l.note("begin an approval for %q: %s", role, a)
	op := &operation{what: "begin approval", role: role, grace: a.Grace, force: a.Force}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error { return e.BeginApproval(ctx, role, a) }))
	if roll(l.rt, "somebody goes there", 2) == 0 {
		return
	}
	if l.climate.Servers && roll(l.rt, "config moves", 3) == 2 {
		l.move()
	}
	time.Sleep(l.duration("after", 0, 3*time.Second, 14*time.Minute, 20*time.Minute))
	l.tick(l.leader)
	l.check()
	l.decide()
}

// anApproval is what an approval is for, nearly always of one that there is.
func (l *Life) anApproval() string {
	approvals := l.disk.truth().approvals
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(approvals)), func(key string) bool { return approvals[key].State == "" })
	if len(keys) > 0 && roll(l.rt, "any approval", 8) < 7 {
		return approvalRole(keys[roll(l.rt, "approval", len(keys))])
	}
	return l.approvalFor()
}

func (l *Life) cancelApproval() {
	role := l.anApproval()
	l.cutsHere(2)
	l.note("cancel the approval for %q", role)
	l.await(l.begin(&operation{what: "cancel approval", role: role}, func(ctx context.Context, e Engine) error {
		return e.CancelApproval(ctx, role)
	}))
	if roll(l.rt, "somebody approves all the same", 3) == 2 {
		l.decide()
	}
}

func (l *Life) readApproval() {
	role, wait := l.anApproval(), l.duration("wait", 0, 5*time.Second, 20*time.Second)
	l.note("read the approval for %q, wait: %s", role, wait)
	op := &operation{what: "read approval", role: role}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		before := l.disk.truth().approvals[approvalKey(role)]
		state, err := e.ReadApproval(ctx, role, wait)
		if err == nil && l.isAlone(op) && wait == 0 && state != before.State {
			l.broken("the approval for %q is said to be %q, and is %q", role, state, before.State)
		}
		return err
	}))
}

func approvalKey(role string) string {
	if role == "" {
		return adminApproval
	}
	return role
}
