// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"slices"
	"time"
)

// names are the roles of a life: few, so that they meet.
var names = []string{"ci", "gpu.team", "x"}

func ptr[T any](v T) *T { return &v }

// anyRole is a role's name, nearly always of one that exists.
func (l *Life) anyRole() string {
	if exist := l.disk.truth().names(); len(exist) > 0 && roll(l.rt, "any name", 16) < 15 {
		return exist[roll(l.rt, "role", len(exist))]
	}
	return names[roll(l.rt, "role", len(names))]
}

// newRole is a role's name, nearly always of one that does not exist where there is one left.
func (l *Life) newRole() string {
	free := slices.DeleteFunc(slices.Clone(names), func(name string) bool { _, exists := l.disk.truth().roles[name]; return exists })
	if len(free) > 0 && roll(l.rt, "any name", 8) < 7 {
		return free[roll(l.rt, "role", len(free))]
	}
	return names[roll(l.rt, "role", len(names))]
}

func (l *Life) duration(what string, of ...time.Duration) time.Duration {
	return of[roll(l.rt, what, len(of))]
}

func (l *Life) rotate() {
	role := l.anyRole()
	r := Rotation{DryRun: roll(l.rt, "dry run", 16) == 15}
	if roll(l.rt, "own grace", 3) == 2 {
		r.Grace = ptr(l.duration("grace_period", time.Hour, 0, 2*day))
	}
	what := "rotate managed"
	if l.disk.truth().roles[role].Type == "static" {
		what = "rotate static"
		r.Pair, r.Unproven = l.freshPair()
		l.oracle.bring(r.Pair.ID, l.disk.truth().server)
		r.Force = roll(l.rt, "force", 4) == 3
	}
	l.turn(what, role, r)
}

func (l *Life) undo() {
	role := l.anyRole()
	r := Rotation{ToPrevious: true}
	if roll(l.rt, "own grace", 3) == 2 {
		r.Grace = ptr(l.duration("grace_period", time.Hour, 0, 2*day))
	}
	l.turn("undo", role, r)
}

// turn has a role rotate, and holds the engine to what it then names.
func (l *Life) turn(what, role string, r Rotation) {
	grace := "the role's"
	if r.Grace != nil {
		grace = r.Grace.String()
	}
	l.note("%s %s, grace %s", what, role, grace)
	op := &operation{what: what, role: role, grace: r.Grace}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		answer, err := e.Rotate(ctx, role, r)
		if err == nil && answer.PreviousID != "" {
			l.oracle.named(answer.PreviousID, answer.NotBefore.Add(-l.skew(op.node.name)))
		}
		return err
	}))
}
