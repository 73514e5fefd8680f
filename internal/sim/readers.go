// SPDX-License-Identifier: MPL-2.0

package sim

import "time"

// reader is a consumer of one role. It keeps the last credentials that it read.
type reader struct {
	last *Credentials
	next time.Time
	// roleDeletions is how often the role had been deleted at the time of the last read.
	roleDeletions int
}

// readAll lets each consumer read that is due. If there is a standby, consumers alternate between the nodes.
func (run *Run) readAll() {
	t := run.disk.truth()
	for i, role := range roleNames {
		if t.roles[role].Dynamic != nil {
			continue // consumers of dynamic roles keep leases
		}
		r := run.readers[role]
		if r == nil {
			r = &reader{}
			run.readers[role] = r
		}
		if time.Now().Before(r.next) {
			continue
		}
		n := run.leader
		if run.standby != nil && (run.operationCount+i)%2 == 0 {
			n = run.standby
			run.report.count("read by a standby")
		}
		got, err := n.engine.Read(n.ctx, role)
		if err != nil {
			continue // the consumer keeps its token and tries again
		}
		r.next = time.Now().Add(t.roles[role].Refresh)
		run.oracle.checkRead(n.name, role, r, got)
		r.last = got
	}
}
