// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"slices"
	"time"
)

// reader is a consumer of one role. It keeps the last credentials that it read.
type reader struct {
	last *Credentials
	next time.Time
	// roleDeletions is how often the role had been deleted at the time of the last read.
	roleDeletions int
}

// readAll lets each consumer read that is due.
func (run *Run) readAll() {
	for i, role := range roleNames {
		if r := run.readers[role]; r == nil || !time.Now().Before(r.next) {
			run.read(role, run.operationCount+i)
		}
	}
}

// readDuring lets a consumer read a role while an operation on that role runs.
func (run *Run) readDuring(op *operation) {
	if run.conditions.SlowStorage && slices.Contains(roleNames, op.role) {
		run.report.count("read during an operation")
		run.read(op.role, 1)
	}
}

// read lets the consumer of a role read. If there is a standby, the consumer alternates between the nodes.
func (run *Run) read(role string, turn int) {
	before := run.disk.truth()
	if before.roles[role].Dynamic != nil {
		return // consumers of dynamic roles keep leases
	}
	r := run.readers[role]
	if r == nil {
		r = &reader{}
		run.readers[role] = r
	}
	n := run.leader
	if run.standby != nil && turn%2 == 0 {
		n = run.standby
		run.report.count("read by a standby")
	}
	got, err := n.engine.Read(n.ctx, role)
	if err != nil {
		run.checkUnreadable(role, n, err)
		return // the consumer keeps its token and tries again
	}
	r.next = time.Now().Add(before.roles[role].Refresh)
	last := r.last
	if r.roleDeletions != run.oracle.deletions(role) {
		last = nil // of a deleted role of the same name
	}
	if run.oracle.checkRead(n.name, role, r, got, before) {
		run.oracle.checkAnswer(n, role, got, last, before)
		r.last = got
	}
}
