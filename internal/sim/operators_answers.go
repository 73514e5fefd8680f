// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"slices"
	"strings"
)

// hasPrefix reports whether a service user's name has the mount's prefix.
func hasPrefix(name string) bool { return strings.HasPrefix(name, prefix) }

// lookUp lets an operator look up a token: one that the mount knows, or knew, or never saw.
func (run *Run) lookUp() {
	ids := []string{"ak-0123456789abcdefghijkl"}
	for _, token := range run.modals.Tokens() {
		ids = append(ids, token.ID)
	}
	t := run.disk.truth()
	for _, revocation := range t.revocations {
		if revocation.ID != "" {
			ids = append(ids, revocation.ID)
		}
	}
	slices.Sort(ids)
	id := ids[run.roll("token", len(ids))]
	run.logf("look up token %s", id)
	op := &operation{what: "lookup"}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		calls := run.modal.CallCount()
		found, err := e.Lookup(ctx, id)
		before := run.storageBefore(op)
		if err != nil || before == nil {
			return err
		}
		run.oracle.checkLookup(id, found, before)
		if before != run.disk.truth() {
			run.broken("a lookup of token %s wrote to storage", id)
		}
		if made := run.modal.CallCount() - calls; made > 1 && run.conditions.faultFree() {
			run.broken("a lookup of token %s made %d calls to Modal", id, made)
		}
		return nil
	}))
}

// readStatus lets a monitor read status.
func (run *Run) readStatus() {
	run.logf("read status")
	op := &operation{what: "status"}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		got, err := e.Status(ctx)
		if before := run.storageBefore(op); err == nil && before != nil {
			run.oracle.checkStatus(got, before)
		}
		return err
	}))
}
