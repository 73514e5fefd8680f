// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"strings"
	"time"
)

// operation is one request or tick at a node.
type operation struct {
	what, role string
	number     int // the history names the operation by its number
	node       *node
	// grace is the grace period of the request, or nil if the role's grace period applies.
	grace *time.Duration
	// settings is the role's write, and config is the write of config.
	settings *RoleSettings
	config   *Config
	// target is the revocation that the request is about.
	target string
	force  bool
	// callerWaits: the caller always waits for the answer.
	callerWaits bool
	done        chan struct{}
	err         error
	// before is the content of storage when the operation started. It is nil if anything else happened since.
	before *truth
	// forcedMeanwhile: an operator forced a deletion meanwhile, which may have hit the token that the operation
	// creates.
	forcedMeanwhile bool
}

// launch starts an operation at a node, at the same time as everything else that runs.
func (run *Run) launch(op *operation, do func(ctx context.Context, e Engine) error) *operation {
	run.operationCount++
	number := run.operationCount
	op.number = number
	op.done = make(chan struct{})
	if op.node == nil {
		op.node = run.leader
	}
	ctx, cancel := context.WithCancel(op.node.ctx)
	if op.what != "tick" && !op.callerWaits && run.conditions.CallersLeave && run.roll("caller leaves", 8) == 7 {
		after := []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second}[run.roll("after", 3)]
		ctx, cancel = context.WithTimeout(op.node.ctx, after+time.Duration(number))
	}
	ctx = context.WithValue(ctx, cancelKey{}, cancel)
	for _, running := range run.running() {
		if running.what != "tick" || op.what != "tick" {
			run.report.count("operations at the same time")
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
		time.Sleep(time.Duration(number)) // no two operations start at the same instant
		counter := &run.revoking
		if strings.HasPrefix(op.what, "create") || strings.HasPrefix(op.what, "rotate") || op.what == "read lease" {
			counter = &run.creating
		}
		counter.Add(1)
		defer counter.Add(-1)
		op.err = do(ctx, op.node.engine)
		left := ctx.Err() != nil && op.node.ctx.Err() == nil
		// Operations that waited for this one's lock continue first. Otherwise the order would be random.
		time.Sleep(time.Duration(number))
		run.answered(op, number, left)
	}()
	return op
}

// title names the operation and its role, if it has one.
func (op *operation) title() string { return strings.TrimSpace(op.what + " " + op.role) }

func (run *Run) answered(op *operation, number int, left bool) {
	outcome := "done"
	switch {
	case op.node.handle.isDead():
		outcome = "killed"
	case left:
		run.report.count("caller left")
		outcome = "left"
	case isUserError(op.err):
		outcome = "refused"
	case op.err != nil:
		outcome = "failed"
	}
	run.report.count(op.what + ": " + outcome)
	if outcome == "failed" && !run.mayFail(op) && run.conditions.faultFree() {
		run.broken("%s %s failed without a fault: %v", op.what, op.role, op.err)
	}
	run.mu.Lock()
	before := op.before
	run.mu.Unlock()
	if outcome == "refused" && before != nil && !before.sameRoles(run.disk.truth()) {
		run.broken("%s %s was refused but changed a role", op.what, op.role)
	}
	if op.what == "tick" && op.err == nil {
		return
	}
	text := ""
	if op.err != nil {
		text = ": " + op.err.Error()
	}
	run.logf("  #%d %s at %s: %s%s", number, op.title(), op.node.name, outcome, text)
}

// mayFail reports whether an operation needs something that an operator has taken away.
func (run *Run) mayFail(op *operation) bool {
	switch op.what {
	case "end lease":
		revocation, waits := run.disk.truth().revocationOfToken(op.target)
		return run.isRestricted() || run.oracle.mayBlockDeletions() || waits && run.isElsewhere(revocation.storedToken)
	case "read lease":
		return op.forcedMeanwhile
	case "change the CA":
		return !strings.Contains(*op.config.CACert, run.cas.server) // the engine cannot reach the server
	}
	return false
}

// running returns the operations without an answer.
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

// await waits for an operation. If operations overlap in this run, it may wait only for a while.
func (run *Run) await(op *operation) {
	limit := hangLimit
	if run.conditions.Overlap && run.roll("overlap", 2) == 1 {
		limit = []time.Duration{0, 300 * time.Millisecond, 2 * time.Second, 20 * time.Second, 7 * time.Millisecond, 25 * time.Millisecond}[run.roll("for", 6)]
	}
	select {
	case <-op.done:
	case <-time.After(limit):
		run.readDuring(op)
		if limit == hangLimit {
			run.fail("%s %s does not end", op.what, op.role)
		}
	}
	run.restartDeadNode()
}

// waitForAll waits until no operation runs.
func (run *Run) waitForAll() {
	for _, op := range run.running() {
		select {
		case <-op.done:
		case <-time.After(hangLimit):
			run.fail("%s %s does not end", op.what, op.role)
		}
	}
}

// ranAlone reports whether nothing else happened since the operation started.
func (run *Run) ranAlone(op *operation) bool { return run.storageBefore(op) != nil }

// storageBefore returns the content of storage when the operation started, or nil if anything else happened since.
func (run *Run) storageBefore(op *operation) *truth {
	run.mu.Lock()
	defer run.mu.Unlock()
	return op.before
}
