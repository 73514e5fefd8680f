// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// maxConcurrentRotations bounds what a tick does at once, and so many entries of the ledger beside.
	maxConcurrentRotations = 4
	// maxConcurrentChecks bounds how many tokens Modal is asked about at once. So many are enough for ten thousand
	// managed roles in the shortest interval, with two calls of 50 ms each.
	maxConcurrentChecks = 16
	// maxConcurrentReads bounds how many entries are read at once where all are: after a restart each read
	// is a call to Vault.
	maxConcurrentReads = 8
	// A tick begins nothing new after beginBudget, and what it began ends with tickBudget, before the
	// next tick is due.
	beginBudget = 35 * time.Second
	tickBudget  = 55 * time.Second
	// ledgerTurn is the ledger's place among what a tick begins, far behind any rotation's.
	ledgerTurn = 1 << 20
	// lockTurn is how far whoever waited for a lock falls behind the one who had it, farther than any two jobs
	// are apart.
	lockTurn = 1 << 14
)

// Tick is what is to be done once a minute: due rotations and due entries of the ledger, a few of each at a time. What does not
// fit is left to the next tick. Ticks do not overlap.
func (e *Engine) Tick(ctx context.Context) error {
	if !e.ticking.TryLock() {
		return nil
	}
	defer e.ticking.Unlock()
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	waiting := e.followAll(ctx)
	if cfg.Paused { // operators still can; nothing is lost, as what is due stays due
		return errors.Join(waiting, e.warnOfExpiry(ctx, ctx))
	}
	tick, cancel := context.WithTimeout(ctx, tickBudget)
	defer cancel()
	begin, stop := context.WithTimeout(tick, beginBudget)
	defer stop()
	var ledger error
	var group sync.WaitGroup
	group.Go(func() {
		e.deps.Stagger(ledgerTurn)
		ledger = e.workLedger(tick, begin)
	})
	rotations := e.rotateDue(tick, begin)
	verified := errors.Join(e.verifyAdmin(tick), e.verifyDue(tick, begin)) // with the time that is left
	group.Wait()
	return errors.Join(waiting, verified, rotations, ledger, e.sweepNotes(begin), e.warnOfExpiry(ctx, begin))
}

// workLedger processes the revocations that are due. Before that, and once after a start, it compares storage with Modal.
func (e *Engine) workLedger(tick, begin context.Context) error {
	due, err := e.dueEntries.due(begin, e.Now(), source{
		list: func(ctx context.Context) ([]string, error) { return e.revocations.List(ctx) },
		next: func(ctx context.Context, id string) (time.Time, error) { return e.attendAt(ctx, id) },
		failed: func(id string, err error) {
			e.log().Error("cannot tell when an entry of the ledger is due", "id", id, "error", err)
		},
	})
	if len(due) > 0 || e.guard.needsComparison() {
		failed := e.compareWithModal(tick)
		switch {
		case failed != nil && len(due) > 0:
			return errors.Join(err, failed)
		case failed != nil:
			e.log().Error("storage cannot be compared with modal", "error", failed)
		}
	}
	return errors.Join(err, e.untilOver(begin, due, maxConcurrentRotations, func(id string) error {
		got, _, failed := e.attend(tick, begin, id, whenDue)
		if got == verdictNotDue {
			e.dueEntries.touch(id)
		}
		if away := (*notHeldError)(nil); errors.As(failed, &away) {
			return nil // the role is busy: the entry is due at the next tick too
		}
		return failed
	}))
}

// attendAt is when the worker looks at an entry: when it is due, and now where its token is current
// after a cut.
func (e *Engine) attendAt(ctx context.Context, id string) (time.Time, error) {
	entry, err := e.revocations.Get(ctx, id)
	if err != nil || entry == nil {
		return time.Time{}, err
	}
	_, cred, err := e.current(ctx, entry.Role)
	if err != nil {
		return time.Time{}, err
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return time.Time{}, err
	}
	if entry.isOf(cred) || (entry.ID != "" && entry.ID == cfg.adminID()) || entry.misdated(e.Now()) {
		return e.Now(), nil
	}
	return entry.NextAttempt, nil
}

// untilOver does something at Modal for each name, so many at a time, and begins no more when begin is
// over. One failure stops no other.
func (e *Engine) untilOver(begin context.Context, names []string, atOnce int, do func(name string) error) error {
	failures := make([]error, len(names))
	eachOf(names, atOnce, func(i int, name string) {
		e.deps.Stagger(i)
		if begin.Err() == nil {
			failures[i] = do(name)
		}
	})
	return errors.Join(failures...)
}

// eachOf does something for each name, so many at a time.
func eachOf(names []string, atOnce int, do func(i int, name string)) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, name := range names {
		group.Go(func() error {
			do(i, name)
			return nil
		})
	}
	_ = group.Wait() // none of them fails
}
