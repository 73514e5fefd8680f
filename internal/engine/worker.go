// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// Worker does everything that is due: rotations, revocations, approvals, verifications and warnings.
type Worker struct {
	mount     *state.Mount
	owners    *state.Owners
	revoker   *revocation.Revoker
	guard     *revocation.Guard
	rotations *Rotations
	approvals *Approvals
	verifier  *Verifier
	expiry    *expiryWarner
	// ticking is locked during a tick.
	ticking sync.Mutex
}

// beginBudget limits the time in which a tick starts new work.
const beginBudget = 35 * time.Second

// tickBudget limits the duration of a tick, so that it ends before the next tick is due.
const tickBudget = 55 * time.Second

// Tick runs once a minute. It processes due rotations and revocations, a few of each at a time, and leaves the rest
// to the next tick. Ticks do not overlap.
func (w *Worker) Tick(ctx context.Context) error {
	if !w.ticking.TryLock() {
		return nil
	}
	defer w.ticking.Unlock()
	cfg, err := w.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	waiting := w.approvals.pollAll(ctx)
	if cfg.Paused { // operators can still act; due work stays due
		return errors.Join(waiting, w.expiry.warn(ctx, ctx))
	}
	tick, cancel := context.WithTimeout(ctx, tickBudget)
	defer cancel()
	begin, stop := context.WithTimeout(tick, beginBudget)
	defer stop()
	var revocations error
	var group sync.WaitGroup
	group.Go(func() {
		w.mount.Stagger("the revocation queue")
		revocations = w.processQueue(tick, begin)
	})
	rotations := w.rotations.rotateDue(tick, begin)
	verified := errors.Join(w.verifier.verifyAdmin(tick), w.verifier.verifyDue(tick, begin)) // in the remaining time
	group.Wait()
	return errors.Join(waiting, verified, rotations, revocations, w.owners.Sweep(begin), w.expiry.warn(ctx, begin))
}

// processQueue processes the revocations that are due. Before that, and once after a start, it compares storage with
// Modal.
func (w *Worker) processQueue(tick, begin context.Context) error {
	due, err := w.mount.DueRevocations.Due(begin, w.mount.Now(), state.DueSource{
		List: func(ctx context.Context) ([]string, error) { return w.mount.Revocations.List(ctx) },
		Next: func(ctx context.Context, id string) (time.Time, error) { return w.dueAt(ctx, id) },
		Failed: func(id string, err error) {
			w.mount.Log().Error("the due time of a revocation cannot be read", "id", id, "error", err)
		},
	})
	if len(due) > 0 || w.guard.NeedsComparison() {
		failed := w.guard.Compare(tick)
		switch {
		case failed != nil && len(due) > 0:
			return errors.Join(err, failed)
		case failed != nil:
			w.mount.Log().Error("storage cannot be compared with modal", "error", failed)
		}
	}
	return errors.Join(err, w.mount.UntilOver(begin, due, state.MaxConcurrentRotations, func(id string) error {
		outcome, _, failed := w.revoker.Process(tick, begin, id, revocation.WhenDue)
		if outcome == revocation.Postponed {
			w.mount.DueRevocations.Touch(id)
		}
		if canceled := (*model.CanceledError)(nil); errors.As(failed, &canceled) {
			return nil // the role is busy, and the revocation stays due
		}
		return failed
	}))
}

// dueAt returns the time when the worker processes a revocation. If its token is current, that is now: a crash can
// leave the revocation of a current token.
func (w *Worker) dueAt(ctx context.Context, id string) (time.Time, error) {
	entry, err := w.mount.Revocations.Get(ctx, id)
	if err != nil || entry == nil {
		return time.Time{}, err
	}
	_, cred, err := w.mount.Current(ctx, entry.Role)
	if err != nil {
		return time.Time{}, err
	}
	cfg, err := w.mount.LoadConfig(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if entry.IsOf(cred) || (entry.ID != "" && entry.ID == cfg.AdminID()) {
		return w.mount.Now(), nil
	}
	return entry.DueAt(w.mount.Now()), nil
}
