// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"slices"
	"time"
)

// roleNames are the roles of a run. They are few, so that operations meet.
var roleNames = []string{"ci", "gpu.team", "x"}

func ptr[T any](v T) *T { return &v }

// anyRole draws the name of a role. Nearly always the role exists.
func (run *Run) anyRole() string {
	if exist := run.disk.truth().names(); len(exist) > 0 && run.roll("any name", 16) < 15 {
		return exist[run.roll("role", len(exist))]
	}
	return roleNames[run.roll("role", len(roleNames))]
}

// roleOf draws a role of one of the types, and creates one if none exists. Sometimes it draws any name.
func (run *Run) roleOf(types ...string) string {
	of := func() []string {
		t := run.disk.truth()
		return slices.DeleteFunc(t.names(), func(name string) bool { return !slices.Contains(types, t.roles[name].Type) })
	}
	if len(of()) == 0 {
		switch types[run.roll("type", len(types))] {
		case "managed":
			run.createManaged()
		case "static":
			run.createStatic()
		}
		run.check()
	}
	if exist := of(); len(exist) > 0 && run.roll("another role", 16) < 15 {
		return exist[run.roll("role", len(exist))]
	}
	return run.anyRole()
}

// newRole draws the name of a role. Nearly always the role does not exist, if a name is free.
func (run *Run) newRole() string {
	if run.roll("the dynamic role's name", 16) == 15 {
		return dynamicRole
	}
	free := slices.DeleteFunc(slices.Clone(roleNames), func(name string) bool { _, exists := run.disk.truth().roles[name]; return exists })
	if len(free) > 0 && run.roll("any name", 8) < 7 {
		return free[run.roll("role", len(free))]
	}
	return roleNames[run.roll("role", len(roleNames))]
}

func (run *Run) drawDuration(what string, of ...time.Duration) time.Duration {
	return of[run.roll(what, len(of))]
}

func (run *Run) rotate() {
	r := Rotation{DryRun: run.roll("dry run", 16) == 15}
	if run.roll("own grace", 3) == 2 {
		r.Grace = ptr(run.drawDuration("grace_period", time.Hour, 0, 2*day))
	}
	run.rotateTo(run.roleOf("managed", "managed", "static"), r)
}

// rotateTo rotates a role. If the role is static, an operator brings the next token.
func (run *Run) rotateTo(role string, r Rotation) {
	what := "rotate managed"
	if run.disk.truth().roles[role].Type == "static" {
		what = "rotate static"
		run.maybeFailTokenDelete(false)
		token := run.drawOffer()
		r.Token, r.Unverified = token.token, token.unverified
		run.oracle.operatorSends(r.Token.ID, run.configuredServer())
		if r.Force = token.force || run.roll("force", 4) >= 2; r.Force {
			run.oracle.allowAnyOwner(r.Token.ID)
		}
	}
	run.rotateRole(what, role, r)
}

// undo lets an operator return to the previous token, often soon after a rotation.
func (run *Run) undo() {
	role := run.roleOf("managed", "static")
	if run.disk.truth().countInGrace(role, time.Now()) == 0 && run.roll("rotate first", 8) < 7 {
		run.rotateTo(role, Rotation{Grace: ptr(day)})
		run.check()
	}
	r := Rotation{ToPrevious: true}
	if run.roll("own grace", 3) == 2 {
		r.Grace = ptr(run.drawDuration("grace_period", time.Hour, 0, 2*day))
	}
	run.rotateRole("undo", role, r)
}

// rotateTooOften rotates a role until it has too many previous tokens.
func (run *Run) rotateTooOften() {
	role := run.roleOf("managed")
	if run.disk.truth().roles[role].Managed == nil {
		return
	}
	for range previousTokenLimit + 2 {
		run.rotateRole("rotate managed", role, Rotation{Grace: ptr(3 * day)})
		run.check()
	}
}

// previousTokenLimit is how many previous tokens a role may have before the engine refuses manual rotations.
const previousTokenLimit = 10

// rotateRole rotates a role and records the promise in the answer.
func (run *Run) rotateRole(what, role string, r Rotation) {
	if run.leavesOut() {
		return
	}
	grace := "the role's"
	if r.Grace != nil {
		grace = r.Grace.String()
	}
	run.maybePlanCut(5)
	run.logf("%s %s, grace %s", what, role, grace)
	op := &operation{what: what, role: role, grace: r.Grace}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		answer, err := e.Rotate(ctx, role, r)
		run.checkPreviousTokenLimit(op, r, err)
		if err == nil && answer.PreviousID != "" {
			run.oracle.promiseStated(answer.PreviousID, answer.NotBefore.Add(-run.skew(op.node.name)), op)
			run.oracle.checkRotateEvent(role, answer.Version)
		}
		return err
	}))
}

// checkPreviousTokenLimit expects a rotation to be refused if the role already has too many previous tokens.
func (run *Run) checkPreviousTokenLimit(op *operation, r Rotation, err error) {
	if !run.ranAlone(op) || r.DryRun || r.ToPrevious {
		return
	}
	grace := op.before.roles[op.role].Grace
	if r.Grace != nil {
		grace = *r.Grace
	}
	if grace == 0 || op.before.countInGrace(op.role, time.Now().Add(run.skew(op.node.name))) < previousTokenLimit {
		return
	}
	if err == nil {
		run.broken("role %s was rotated although %d of its previous tokens are in their grace period", op.role, previousTokenLimit)
	}
	if isUserError(err) {
		run.report.count("too many previous tokens are refused")
	}
}
