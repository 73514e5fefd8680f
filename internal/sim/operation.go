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
	stays bool
	done  chan struct{}
	err   error
	// alone is what storage held when it began, nil where something else went on.
	alone *truth
	// overruled: an operator ended something by force meanwhile, which may be what it was making.
	overruled bool
}

// begin has a node do something, beside everything else that goes on.
func (l *Life) begin(op *operation, do func(ctx context.Context, e Engine) error) *operation {
	l.begun++
	number := l.begun
	op.done = make(chan struct{})
	if op.node == nil {
		op.node = l.leader
	}
	ctx, cancel := context.WithCancel(op.node.ctx)
	if op.what != "tick" && !op.stays && l.climate.CallersLeave && roll(l.rt, "caller leaves", 8) == 7 {
		after := []time.Duration{50 * time.Millisecond, time.Second, 10 * time.Second}[roll(l.rt, "after", 3)]
		ctx, cancel = context.WithTimeout(op.node.ctx, after+time.Duration(number))
	}
	ctx = context.WithValue(ctx, leaveKey{}, cancel)
	for _, running := range l.running() {
		if running.what != "tick" || op.what != "tick" {
			l.report.seen("operations beside each other")
			break
		}
	}
	if len(l.running()) == 0 {
		op.alone = l.disk.truth()
	}
	l.mu.Lock()
	for _, beside := range l.operations {
		beside.alone = nil
		beside.overruled = beside.overruled || op.force
		op.overruled = op.overruled || beside.force
	}
	l.operations = append(l.operations, op)
	l.mu.Unlock()
	go func() {
		defer close(op.done)
		defer cancel()
		time.Sleep(time.Duration(number)) // no two begin at one instant
		counter := &l.ending
		if strings.HasPrefix(op.what, "create") || strings.HasPrefix(op.what, "rotate") || op.what == "read lease" {
			counter = &l.minting
		}
		counter.Add(1)
		defer counter.Add(-1)
		op.err = do(ctx, op.node.engine)
		left := ctx.Err() != nil && op.node.ctx.Err() == nil
		// Whoever waited for a lock of this one goes on first, or it would be luck who does.
		time.Sleep(time.Duration(number))
		l.answered(op, number, left)
	}()
	return op
}

func (l *Life) answered(op *operation, number int, left bool) {
	outcome := "done"
	switch {
	case op.node.handle.isDead():
		outcome = "killed"
	case left:
		l.report.seen("caller left")
		outcome = "left"
	case isMistake(op.err):
		outcome = "mistake"
	case op.err != nil:
		outcome = "failed"
	}
	l.report.seen(op.what + ": " + outcome)
	if outcome == "failed" && !l.mayFail(op) && l.climate.calm() {
		l.broken("%s %s failed although nothing is wrong: %v", op.what, op.role, op.err)
	}
	l.mu.Lock()
	before := op.alone
	l.mu.Unlock()
	if outcome == "mistake" && before != nil && !before.sameRoles(l.disk.truth()) {
		l.broken("%s %s was refused, and changed a role all the same", op.what, op.role)
	}
	if op.what == "tick" && op.err == nil {
		return
	}
	text := ""
	if op.err != nil {
		text = ": " + op.err.Error()
	}
	l.note("  #%d %s %s at %s: %s%s", number, op.what, op.role, op.node.name, outcome, text)
}

// mayFail says that an operation needs what an operator has taken away.
func (l *Life) mayFail(op *operation) bool {
	switch op.what {
	case "end lease":
		entry, waits := l.disk.truth().waiting(op.target)
		return l.hampered() || l.oracle.mayBeFenced() || waits && l.isAway(entry.storedToken)
	case "read lease":
		return op.overruled
	}
	return false
}

// running are the operations that have not been answered.
func (l *Life) running() []*operation {
	l.mu.Lock()
	defer l.mu.Unlock()
	var running []*operation
	for _, op := range l.operations {
		select {
		case <-op.done:
		default:
			running = append(running, op)
		}
	}
	l.operations = running
	return running
}

// await waits for an operation, or for a while where the climate lets operations overlap.
func (l *Life) await(op *operation) {
	limit := patience
	if l.climate.Overlap && roll(l.rt, "overlap", 2) == 1 {
		limit = []time.Duration{0, 300 * time.Millisecond, 2 * time.Second, 20 * time.Second}[roll(l.rt, "for", 4)]
	}
	select {
	case <-op.done:
	case <-time.After(limit):
		if limit == patience {
			l.fail("%s %s does not end", op.what, op.role)
		}
	}
	l.bury()
}

// quiet waits until nothing runs any more.
func (l *Life) quiet() {
	for _, op := range l.running() {
		select {
		case <-op.done:
		case <-time.After(patience):
			l.fail("%s %s does not end", op.what, op.role)
		}
	}
}

// isAlone says whether nothing else went on since an operation began.
func (l *Life) isAlone(op *operation) bool { return l.before(op) != nil }

// before is what storage held when an operation began, nil where something else went on since.
func (l *Life) before(op *operation) *truth {
	l.mu.Lock()
	defer l.mu.Unlock()
	return op.alone
}
