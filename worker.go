// SPDX-License-Identifier: MPL-2.0

package modalsecrets

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
	// maxConcurrentReads bounds how many entries are read at once where all are: after a restart each read
	// is a call to Vault.
	maxConcurrentReads = 8
	// A tick begins nothing new after beginBudget, and what it began ends with tickBudget, before the
	// next tick is due.
	beginBudget = 35 * time.Second
	tickBudget  = 55 * time.Second
	// ledgerTurn is the ledger's place among what a tick begins, far behind any rotation's.
	ledgerTurn = 1 << 20
)

// work is a tick: due rotations and due entries of the ledger, a few of each at a time. What does not
// fit is left to the next tick. Ticks do not overlap.
func (b *backend) work(ctx context.Context) error {
	if !b.ticking.TryLock() {
		return nil
	}
	defer b.ticking.Unlock()
	tick, cancel := context.WithTimeout(ctx, tickBudget)
	defer cancel()
	begin, stop := context.WithTimeout(tick, beginBudget)
	defer stop()
	var ledger error
	var group sync.WaitGroup
	group.Go(func() {
		b.stagger(ledgerTurn)
		ledger = b.workLedger(tick, begin)
	})
	rotations := b.rotateDue(tick, begin)
	group.Wait()
	return errors.Join(rotations, ledger, b.sweepNotes(begin), b.warnOfExpiry(ctx))
}

// workLedger attends to the entries that are due.
func (b *backend) workLedger(tick, begin context.Context) error {
	due, err := b.dueEntries.due(begin, b.now(), source{
		list: func(ctx context.Context) ([]string, error) { return b.revocations.List(ctx) },
		next: func(ctx context.Context, id string) (time.Time, error) { return b.attendAt(ctx, id) },
		failed: func(id string, err error) {
			b.log().Error("cannot tell when an entry of the ledger is due", "id", id, "error", err)
		},
	})
	return errors.Join(err, b.untilOver(begin, due, func(id string) error {
		got, _, failed := b.attend(tick, begin, id, whenDue)
		if got == verdictNotDue {
			b.dueEntries.touch(id)
		}
		if away := (*notHeldError)(nil); errors.As(failed, &away) {
			return nil // the role is busy: the entry is due at the next tick too
		}
		return failed
	}))
}

// attendAt is when the worker looks at an entry: when it is due, and now where its token is current
// after a cut.
func (b *backend) attendAt(ctx context.Context, id string) (time.Time, error) {
	entry, err := b.revocations.Get(ctx, id)
	if err != nil || entry == nil {
		return time.Time{}, err
	}
	_, cred, err := b.current(ctx, entry.Role)
	if err != nil {
		return time.Time{}, err
	}
	if entry.isOf(cred) || entry.misdated(b.now()) {
		return b.now(), nil
	}
	return entry.NextAttempt, nil
}

// untilOver does something at Modal for each name, a few at a time, and begins no more when begin is
// over. One failure stops no other.
func (b *backend) untilOver(begin context.Context, names []string, do func(name string) error) error {
	failures := make([]error, len(names))
	eachOf(names, maxConcurrentRotations, func(i int, name string) {
		b.stagger(i)
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
