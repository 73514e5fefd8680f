// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"strings"
	"time"
)

// operation is something that somebody began at a node.
type operation struct {
	what, role string
	node       *node
	// grace is what a rotation was told, nil where the role's counts.
	grace *time.Duration
	// target is the entry of the ledger that it is about.
	target string
	force  bool
	// stays: whoever asked waits for the answer.
	callerWaits bool
	done        chan struct{}
	err         error
	// alone is what storage held when it began, nil where something else went on.
	before *truth
	// overruled: an operator ended something by force meanwhile, which may be what it was making.
	forcedMeanwhile bool
}

// begin has a node do something, beside everything else that goes on.
func (run *Run) launch(op *operation, do func(ctx context.Context, e Engine) error) *operation {
	run.operationCount++
	number := run.operationCount
	op.done = make(chan struct{})
	if op.node == nil {
		op.node = run.leader
	}
	ctx, cancel := context.WithCancel(op.node.ctx)
	if op.what != "tick" && !op.callerWaits && run.conditions.CallersLeave && roll(run.rt, "caller leaves", 8) == 7 {
		after := []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second}[roll(run.rt, "after", 3)]
		ctx, cancel = context.WithTimeout(op.node.ctx, after+time.Duration(number))
	}
	ctx = context.WithValue(ctx, cancelKey{}, cancel)
	for _, running := range run.running() {
		if running.what != "tick" || op.what != "tick" {
			run.report.count("operations beside each other")
			break
		}
	}
	if len(run.running()) == 0 {
		op.before = run.disk.truth()
	}
	run.mu.Lock()
	for _, beside := range run.operations {
		beside.before = nil
		beside.forcedMeanwhile = beside.forcedMeanwhile || op.force
		op.forcedMeanwhile = op.forcedMeanwhile || beside.force
	}
	run.operations = append(run.operations, op)
	run.mu.Unlock()
	go func() {
		defer close(op.done)
		defer cancel()
		time.Sleep(time.Duration(number)) // no two begin at one instant
		counter := &run.revoking
		if strings.HasPrefix(op.what, "create") || strings.HasPrefix(op.what, "rotate") || op.what == "read lease" {
			counter = &run.creating
		}
		counter.Add(1)
		defer counter.Add(-1)
		op.err = do(ctx, op.node.engine)
		left := ctx.Err() != nil && op.node.ctx.Err() == nil
		// Whoever waited for a lock of this one goes on first, or it would be luck who does.
		time.Sleep(time.Duration(number))
		run.answered(op, number, left)
	}()
	return op
}

func (run *Run) answered(op *operation, number int, left bool) {
	outcome := "done"
	switch {
	case op.node.handle.isDead():
		outcome = "killed"
	case left:
		run.report.count("caller left")
		outcome = "left"
	case isUserError(op.err):
		outcome = "mistake"
	case op.err != nil:
		outcome = "failed"
	}
	run.report.count(op.what + ": " + outcome)
	if outcome == "failed" && !run.mayFail(op) && run.conditions.faultFree() {
		run.broken("%s %s failed although nothing is wrong: %v", op.what, op.role, op.err)
	}
	run.mu.Lock()
	before := op.before
	run.mu.Unlock()
	if outcome == "mistake" && before != nil && !before.sameRoles(run.disk.truth()) {
		run.broken("%s %s was refused, and changed a role all the same", op.what, op.role)
	}
	if op.what == "tick" && op.err == nil {
		return
	}
	text := ""
	if op.err != nil {
		text = ": " + op.err.Error()
	}
	run.logf("  #%d %s %s at %s: %s%s", number, op.what, op.role, op.node.name, outcome, text)
}

// mayFail says that an operation needs what an operator has taken away.
func (run *Run) mayFail(op *operation) bool {
	switch op.what {
	case "end lease":
		revocation, waits := run.disk.truth().revocationOfToken(op.target)
		return run.isRestricted() || run.oracle.mayBlockDeletions() || waits && run.isElsewhere(revocation.storedToken)
	case "read lease":
		return op.forcedMeanwhile
	}
	return false
}

// running are the operations that have not been answered.
func (run *Run) running() []*operation {
	run.mu.Lock()
	defer run.mu.Unlock()
	var running []*operation
	for _, op := range run.operations {
		select {
		case <-op.done:
		default:
			running = append(running, op)
		}
	}
	run.operations = running
	return running
}

// await waits for an operation, or for a while where the climate lets operations overlap.
func (run *Run) await(op *operation) {
	limit := hangLimit
	if run.conditions.Overlap && roll(run.rt, "overlap", 2) == 1 {
		limit = []time.Duration{0, 300 * time.Millisecond, 2 * time.Second, 20 * time.Second}[roll(run.rt, "for", 4)]
	}
	select {
	case <-op.done:
	case <-time.After(limit):
		if limit == hangLimit {
			run.fail("%s %s does not end", op.what, op.role)
		}
	}
	run.restartDeadNode()
}

// quiet waits until nothing runs any more.
func (run *Run) waitForAll() {
	for _, op := range run.running() {
		select {
		case <-op.done:
		case <-time.After(hangLimit):
			run.fail("%s %s does not end", op.what, op.role)
		}
	}
}

// isAlone says whether nothing else went on since an operation began.
func (run *Run) ranAlone(op *operation) bool { return run.before(op) != nil }

// before is what storage held when an operation began, nil where something else went on since.
func (run *Run) before(op *operation) *truth {
	run.mu.Lock()
	defer run.mu.Unlock()
	return op.before
}
