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
	if roll(l.rt, "that of dynamic ones", 16) == 15 {
		return jobs
	}
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
		l.declinesHere(false)
		token := l.fresh()
		r.Pair, r.Unproven = token.pair, token.unproven
		l.oracle.bring(r.Pair.ID, l.goesTo())
		if r.Force = token.meant || roll(l.rt, "force", 4) >= 2; r.Force {
			l.oracle.may(r.Pair.ID)
		}
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

// crowd rotates a role until too many of its tokens are in their grace period.
func (l *Life) crowd() {
	role := l.anyRole()
	if l.disk.truth().roles[role].Managed == nil {
		return
	}
	for range most + 2 {
		l.turn("rotate managed", role, Rotation{Grace: ptr(3 * day)})
		l.check()
	}
}

// most is how many tokens of a role may be in their grace period by an operator's rotations.
const most = 10

// turn has a role rotate, and holds the engine to what it then names.
func (l *Life) turn(what, role string, r Rotation) {
	grace := "the role's"
	if r.Grace != nil {
		grace = r.Grace.String()
	}
	l.cutsHere(5)
	l.note("%s %s, grace %s", what, role, grace)
	op := &operation{what: what, role: role, grace: r.Grace}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		answer, err := e.Rotate(ctx, role, r)
		l.crowded(op, r, err)
		if err == nil && answer.PreviousID != "" {
			l.oracle.named(answer.PreviousID, answer.NotBefore.Add(-l.skew(op.node.name)))
		}
		return err
	}))
}

// crowded judges whether a rotation had to be refused for the tokens that it would leave alive.
func (l *Life) crowded(op *operation, r Rotation, err error) {
	if !l.isAlone(op) || r.DryRun || r.ToPrevious {
		return
	}
	grace := op.alone.roles[op.role].Grace
	if r.Grace != nil {
		grace = *r.Grace
	}
	if grace == 0 || op.alone.inGrace(op.role, time.Now().Add(l.skew(op.node.name))) < most {
		return
	}
	if err == nil {
		l.broken("role %s was rotated although %d of its tokens are in their grace period", op.role, most)
	}
	if isMistake(err) {
		l.report.seen("a crowd is refused")
	}
}
