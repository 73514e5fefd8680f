// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"maps"
	"slices"
	"time"
)

// approvalTarget draws the target of an approval: nearly always a static role, or the admin token.
func (run *Run) approvalTarget() string {
	if run.roll("admin token", 4) == 3 {
		return ""
	}
	return run.roleOf("static")
}

// beginApproval starts an approval. Often a person opens its page at once.
func (run *Run) beginApproval() {
	role := run.approvalTarget()
	a := Approval{Force: run.roll("force", 4) == 3}
	if run.roll("ttl", 4) == 3 {
		a.TTL = ptr(run.drawDuration("token_ttl", 40*day, 2*day))
	}
	if run.roll("own grace", 3) == 2 {
		a.Grace = ptr(run.drawDuration("grace_period", time.Hour, 0, 2*day))
	}
	if run.roll("lapse", 3) == 2 {
		a.LapseAfter = ptr(run.drawDuration("lapse_after", time.Minute, 30*time.Minute, 5*time.Hour))
	}
	run.maybePlanCut(2)
	run.logf("begin an approval for %q: %s", role, a)
	op := &operation{what: "begin approval", role: role, grace: a.Grace, force: a.Force}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error { return e.BeginApproval(ctx, role, a) }))
	if run.roll("somebody goes there", 4) == 0 {
		return
	}
	if run.conditions.Servers && run.roll("config moves", 3) == 2 {
		run.switchServer()
	}
	time.Sleep(run.drawDuration("after", 0, 3*time.Second, time.Minute, 14*time.Minute, 20*time.Minute))
	run.tick(run.leader)
	run.check()
	run.decide()
}

// anyApproval draws the target of an approval. Nearly always the approval exists.
func (run *Run) anyApproval() string {
	approvals := run.disk.truth().approvals
	keys := slices.DeleteFunc(slices.Sorted(maps.Keys(approvals)), func(key string) bool { return approvals[key].State == "" })
	if len(keys) > 0 && run.roll("any approval", 8) < 7 {
		return approvalRole(keys[run.roll("approval", len(keys))])
	}
	return run.approvalTarget()
}

func (run *Run) cancelApproval() {
	role := run.anyApproval()
	run.maybePlanCut(2)
	run.logf("cancel the approval for %q", role)
	run.await(run.launch(&operation{what: "cancel approval", role: role}, func(ctx context.Context, e Engine) error {
		return e.CancelApproval(ctx, role)
	}))
	if run.roll("somebody approves all the same", 3) == 2 {
		run.decide()
	}
}

func (run *Run) readApproval() {
	role, wait := run.anyApproval(), run.drawDuration("wait", 0, 5*time.Second, 20*time.Second)
	run.logf("read the approval for %q, wait: %s", role, wait)
	op := &operation{what: "read approval", role: role}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		before := run.disk.truth().approvals[approvalKey(role)]
		state, err := e.ReadApproval(ctx, role, wait)
		if err == nil && run.ranAlone(op) && wait == 0 && state != before.State {
			run.broken("the engine says that the approval for %q is %q, but storage says %q", role, state, before.State)
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
