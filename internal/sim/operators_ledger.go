// SPDX-License-Identifier: MPL-2.0

package sim

import "context"

// anyEntry is an entry of the ledger, or one that is not there.
func (l *Life) anyEntry() string {
	entries := l.disk.truth().ledger
	at := roll(l.rt, "entry", len(entries)+1)
	if at == len(entries) {
		return "ak-0000000000000000000000"
	}
	return entries[at].key
}

func (l *Life) retry() {
	id, force := l.anyEntry(), roll(l.rt, "force", 3) == 2
	l.note("retry %s, force: %t", id, force)
	op := &operation{what: "retry", target: id, force: force}
	if force {
		l.declinesHere(true)
		l.oracle.void(id)
	}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		revoked, err := e.Retry(ctx, id, force)
		if err == nil && revoked {
			l.oracle.saidRevoked(id)
		}
		return err
	}))
}

func (l *Life) forget() {
	id, force := l.anyEntry(), roll(l.rt, "force", 2) == 1
	l.note("forget %s, force: %t", id, force)
	if force {
		l.oracle.mayForget(id)
	}
	l.await(l.begin(&operation{what: "forget", target: id, force: force}, func(ctx context.Context, e Engine) error {
		return e.Forget(ctx, id, force)
	}))
}
