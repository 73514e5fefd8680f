// SPDX-License-Identifier: MPL-2.0

package sim

import "context"

// anyRevocation draws an ID from the revocation queue, or an unknown ID.
func (run *Run) anyRevocation() string {
	revocations := run.disk.truth().revocations
	at := run.roll("revocation", len(revocations)+1)
	if at == len(revocations) {
		return "ak-0000000000000000000000"
	}
	return revocations[at].key
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
