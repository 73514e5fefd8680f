// SPDX-License-Identifier: MPL-2.0

package sim

import "time"

// reader is a consumer of one role. It keeps what it read.
type reader struct {
	held *Handout
	next time.Time
	// deleted is how often the role had been deleted when it read.
	deleted int
}

// readAll has each consumer read whose time has come, at the standby in turn where there is one.
func (l *Life) readAll() {
	t := l.disk.truth()
	for i, role := range names {
		if t.roles[role].Dynamic != nil {
			continue // its readers keep leases
		}
		r := l.readers[role]
		if r == nil {
			r = &reader{}
			l.readers[role] = r
		}
		if time.Now().Before(r.next) {
			continue
		}
		n := l.leader
		if l.standby != nil && (l.begun+i)%2 == 0 {
			n = l.standby
			l.report.seen("read by a standby")
		}
		got, err := n.engine.Read(n.ctx, role)
		if err != nil {
			continue // it keeps what it has, and tries again
		}
		r.next = time.Now().Add(t.roles[role].Refresh)
		l.oracle.read(n.name, role, r, got)
		r.held = got
	}
}
