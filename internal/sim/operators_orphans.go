// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// orphans has an operator look at what a restored storage knows nothing of, and say what becomes of it.
func (l *Life) orphans() {
	strangers := l.oracle.unanswered()
	if len(strangers) == 0 && roll(l.rt, "all the same", 3) > 0 {
		return
	}
	t := Tidying{}
	switch roll(l.rt, "word", 5) {
	case 0:
		l.listOrphans()
		return
	case 1:
		t.DryRun = true
	case 2:
		t.Accept = true
	}
	if len(strangers) > 0 && roll(l.rt, "some", 2) == 1 {
		t.Names = strangers[:1]
	}
	if !t.DryRun {
		l.oracle.says(t)
	}
	l.note("tidy orphans %q, dry run: %t, accept: %t", t.Names, t.DryRun, t.Accept)
	what := map[bool]string{true: "accept orphans", false: "end orphans"}[t.Accept]
	if t.DryRun {
		what = "dry run of orphans"
	}
	op := &operation{what: what}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		done, err := e.Tidy(ctx, t)
		if err != nil {
			return err
		}
		l.oracle.tidied(t, done, op)
		if len(done.Names) > 0 {
			l.report.seen(what + ": there are some")
		}
		return nil
	}))
}

// copyMints has a copy of the mount make a service user, soon after a token here was replaced: from then on
// nobody can tell whose tokens storage knows of.
func (l *Life) copyMints() {
	if role := l.anyRole(); l.disk.truth().roles[role].Managed != nil {
		l.turn("rotate managed", role, Rotation{Grace: ptr(time.Hour)})
	}
	l.minted++
	name := fmt.Sprintf("%scopy-%d", prefix, l.minted)
	l.note("a copy of the mount makes %s", name)
	if _, err := l.workspace.CreateServiceUser(name); err != nil {
		l.fail("a copy cannot make %s: %v", name, err)
	}
	l.oracle.copied(name)
	for range 3 {
		l.pass(time.Hour)
	}
	if roll(l.rt, "an operator looks", 2) == 1 {
		l.orphans()
	}
}

func (l *Life) listOrphans() {
	l.note("list orphans")
	op := &operation{what: "list orphans"}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		found, err := e.Orphans(ctx)
		if err == nil {
			l.oracle.listed(found, op)
		}
		return err
	}))
}

// pauseMount stops what the mount does by itself, or lets it go on.
func (l *Life) pauseMount() {
	paused := !l.disk.truth().paused
	c := Config{Paused: &paused}
	l.note("write config: %s", c)
	l.await(l.begin(&operation{what: "pause"}, func(ctx context.Context, e Engine) error { return e.WriteConfig(ctx, c) }))
}

// verify has an operator ask about a role's current token.
func (l *Life) verify() { l.verifyRole(l.anyRole()) }

func (l *Life) verifyRole(role string) {
	l.note("verify %s", role)
	op := &operation{what: "verify", role: role}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		v, err := e.Verify(ctx, role)
		if err == nil {
			l.oracle.verified(op, v)
		}
		return err
	}))
}

// useEarlier has somebody who never read again go on with an earlier token, for a while.
func (l *Life) useEarlier() {
	role := l.anyRole()
	if policy := l.disk.truth().roles[role].Managed; policy != nil && !l.disk.truth().paused {
		if policy.Hold == 0 {
			p := Policy{Hold: ptr(6 * time.Hour)}
			l.note("write role %s: %s", role, p)
			l.write("write role", role, p)
			l.check()
		}
		l.turn("rotate managed", role, Rotation{Grace: ptr(time.Hour)})
		l.check()
	}
	entries := slices.DeleteFunc(slices.Clone(l.disk.truth().ledger), func(e storedEntry) bool {
		return e.HoldUntil.IsZero() || e.Secret == "" || e.Forced
	})
	if len(entries) == 0 {
		return
	}
	entry := entries[roll(l.rt, "entry", len(entries))]
	l.note("somebody goes on with token %s of role %s", entry.ID, entry.Role)
	l.goesOn[entry.ID] = entry.Secret
	for range 4 {
		l.pass(time.Hour)
	}
}
