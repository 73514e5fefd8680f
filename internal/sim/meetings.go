// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"time"
)

// meet starts several requests for one role within milliseconds, while storage takes time. Often the process has just
// started, so that its caches are empty and its first tick loads the indexes.
func (run *Run) meet() {
	role := run.roleOf("managed", "static")
	if run.disk.truth().roles[role].Dynamic != nil {
		return // each read would create a lease
	}
	starts := run.roll("a new process", 4) > 0
	if starts {
		run.waitForAll()
		run.logf("the process of %s is started again", run.leader.name)
		run.leader.stop()
		run.makeLeader(run.leader.name)
	}
	for i := range 3 + run.roll("requests", 4) {
		if run.leavesOut() {
			continue
		}
		run.startRequest(role, starts && i == 0)
		time.Sleep(time.Duration(run.roll("then", 120)) * time.Millisecond)
	}
	run.waitForAll()
	run.restartDeadNode()
	run.check()
	run.read(role, 1) // at the leader
	run.read(role, 0)
	run.check()
}

// readOften reads a role again and again for about a second, which is as long as a rotation takes.
func readOften(ctx context.Context, e Engine, role string) error {
	for range 140 {
		if _, err := e.Read(ctx, role); err != nil {
			return err
		}
		time.Sleep(7*time.Millisecond + 3)
	}
	return nil
}

// startRequest starts one request for a role, or a tick, without waiting for it.
func (run *Run) startRequest(role string, tick bool) {
	op := &operation{role: role, callerWaits: true}
	var do func(ctx context.Context, e Engine) error
	request := run.roll("request", 8)
	if tick {
		request = 3
	}
	switch request {
	case 0, 1, 2:
		op.what = "read"
		if run.standby != nil && run.roll("at the standby", 2) == 1 {
			op.node = run.standby
		}
		do = func(ctx context.Context, e Engine) error { return readOften(ctx, e, role) }
	case 3, 4:
		op.what, op.role = "tick", ""
		do = func(ctx context.Context, e Engine) error { return e.Tick(ctx) }
	case 5:
		op.what = "write role"
		settings := RoleSettings{Grace: ptr(run.drawDuration("grace_period", day, time.Hour, 3*day))}
		op.settings = &settings
		do = func(ctx context.Context, e Engine) error { return e.WriteRole(ctx, role, settings) }
	default:
		r := Rotation{ToPrevious: run.roll("to the previous one", 4) == 3}
		op.what = "undo"
		if !r.ToPrevious {
			op.what = "rotate managed"
			if run.disk.truth().roles[role].Type == "static" {
				op.what = "rotate static"
				t := run.owner.NewToken()
				r.Token, r.Force = &Token{t.ID, t.Secret}, true
				run.oracle.operatorSends(t.ID, run.configuredServer())
				run.oracle.allowAnyOwner(t.ID)
			}
		}
		do = func(ctx context.Context, e Engine) error {
			answer, err := e.Rotate(ctx, role, r)
			if err == nil && answer.PreviousID != "" {
				run.oracle.promiseStated(answer.PreviousID, answer.NotBefore.Add(-run.skew(op.node.name)), op)
			}
			return err
		}
	}
	run.launch(op, do)
	run.logf("start #%d: %s at %s", op.number, op.title(), op.node.name)
}
