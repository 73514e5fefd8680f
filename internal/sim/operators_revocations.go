// SPDX-License-Identifier: MPL-2.0

package sim

import "context"

// anyRevocation draws an ID from the revocation queue. If the queue is empty, an operator rotates a role first.
// Sometimes the ID is unknown.
func (run *Run) anyRevocation() string {
	if len(run.disk.truth().revocations) == 0 {
		run.rotate()
		run.check()
	}
	revocations := run.disk.truth().revocations
	if len(revocations) == 0 || run.roll("unknown", 16) == 15 {
		return "ak-0000000000000000000000"
	}
	return revocations[run.roll("revocation", len(revocations))].key
}

func (run *Run) retry() {
	id, force := run.anyRevocation(), run.roll("force", 3) == 2
	run.logf("retry %s, force: %t", id, force)
	op := &operation{what: "retry", target: id, force: force}
	if force {
		run.maybeFailTokenDelete(true)
		run.oracle.withdrawPromise(id)
	}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		revoked, err := e.Retry(ctx, id, force)
		if err == nil && revoked {
			run.oracle.reportedRevoked(id)
		}
		return err
	}))
}

func (run *Run) forget() {
	id, force := run.anyRevocation(), run.roll("force", 2) == 1
	run.logf("forget %s, force: %t", id, force)
	if force {
		run.oracle.allowForget(id)
	}
	run.await(run.launch(&operation{what: "forget", target: id, force: force}, func(ctx context.Context, e Engine) error {
		return e.Forget(ctx, id, force)
	}))
}
