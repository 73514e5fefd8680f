// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"golang.org/x/sync/errgroup"

	"vault-plugin-secrets-modal/internal/modalapi"
)

const (
	// maxConcurrentRotations bounds what a tick does at once, and so many entries of the ledger beside.
	maxConcurrentRotations = 4
	// maxConcurrentReads bounds how many roles are read at once where all are: after a restart each read
	// is a call to Vault.
	maxConcurrentReads = 8
	// A tick begins nothing new after beginBudget, and what it began ends with tickBudget, before the
	// next tick is due.
	beginBudget = 35 * time.Second
	tickBudget  = 55 * time.Second
	// ledgerTurn is the ledger's place among what a tick begins, far behind any rotation's.
	ledgerTurn = 1 << 20
)

// verdict is what an attempt to see a token refused came to.
type verdict int

const (
	verdictGone     verdict = iota // the entry was no longer there
	verdictCurrent                 // the token is its role's current one; the entry was dropped
	verdictRevoked                 // Modal refused the token; the entry was dropped
	verdictAccepted                // Modal still accepts the token
	verdictUnknown                 // Modal did not say
)

// work is a tick: due rotations and due entries of the ledger, a few of each at a time. What does not
// fit is left to the next tick. Ticks do not overlap.
func (b *backend) work(ctx context.Context, s logical.Storage) error {
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
		ledger = b.workLedger(tick, begin, s)
	})
	rotations := b.rotateDue(tick, begin, s)
	group.Wait()
	return errors.Join(rotations, ledger, b.warnOfExpiry(ctx, s))
}

// workLedger attends to the entries that are due, and to those of tokens that are current after all.
func (b *backend) workLedger(tick, begin context.Context, s logical.Storage) error {
	entries, err := b.ledger(tick, s)
	now := b.now()
	var due []string
	for _, entry := range entries {
		// An error here comes back from settle, which reads the same.
		_, cred, failed := b.current(tick, s, entry.Role)
		if entry.due(now) || entry.isOf(cred) || failed != nil {
			due = append(due, entry.key())
		}
	}
	return errors.Join(err, b.untilOver(begin, due, func(id string) error {
		_, _, failed := b.settle(tick, s, id, b.revoke)
		return failed
	}))
}

// untilOver does something at Modal for each name, a few at a time, and begins no more when begin is
// over. One failure stops no other.
func (b *backend) untilOver(begin context.Context, names []string, do func(name string) error) error {
	failures := make([]error, len(names))
	b.eachOf(names, maxConcurrentRotations, func(i int, name string) {
		if begin.Err() == nil {
			failures[i] = do(name)
		}
	})
	return errors.Join(failures...)
}

// eachOf does something for each name, so many at a time.
func (b *backend) eachOf(names []string, atOnce int, do func(i int, name string)) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, name := range names {
		group.Go(func() error {
			b.stagger(i)
			do(i, name)
			return nil
		})
	}
	_ = group.Wait() // none of them fails
}

// attempt is a way to learn whether Modal refuses an entry's token: revoke or ask.
type attempt func(ctx context.Context, s logical.Storage, entry *revocation) (verdict, error)

// settle deals with one entry and drops it or stores what came of it. The entry returned is the one
// that stays, nil when none does.
func (b *backend) settle(ctx context.Context, s logical.Storage, id string, try attempt) (verdict, *revocation, error) {
	entry, unlock, err := b.lockEntry(ctx, s, id)
	if err != nil || entry == nil {
		return verdictGone, nil, err
	}
	defer unlock()
	return b.settleLocked(ctx, s, entry, try)
}

// lockEntry takes the lock of the role behind an entry, and reads the entry under it.
func (b *backend) lockEntry(ctx context.Context, s logical.Storage, id string) (entry *revocation, unlock func(), err error) {
	entry, err = b.revocations.get(ctx, s, id)
	if err != nil || entry == nil {
		return nil, nil, err
	}
	if unlock, err = b.lockRole(ctx, entry.Role); err != nil {
		return nil, nil, err
	}
	entry, err = b.revocations.get(ctx, s, id)
	if err != nil || entry == nil {
		unlock()
		return nil, nil, err
	}
	return entry, unlock, nil
}

// settleLocked is settle for a caller that holds the role's lock.
func (b *backend) settleLocked(ctx context.Context, s logical.Storage, entry *revocation, try attempt) (verdict, *revocation, error) {
	_, cred, err := b.current(ctx, s, entry.Role)
	if err != nil {
		return verdictUnknown, entry, err
	}
	if entry.isOf(cred) {
		b.Logger().Info("token is current after all", "role", entry.Role, "version", cred.Version, "token_id", cred.ID)
		return verdictCurrent, nil, b.revocations.delete(ctx, s, entry.key())
	}
	got, err := try(ctx, s, entry)
	switch {
	case errors.Is(ctx.Err(), context.Canceled) && got != verdictRevoked:
		return verdictUnknown, entry, fmt.Errorf("revoking %s was broken off: %w", entry.key(), ctx.Err())
	case got == verdictRevoked:
		return got, nil, b.conclude(ctx, s, entry)
	case got == verdictUnknown && isStorageError(err):
		return got, entry, err
	}
	// Also after its time was up, so that an entry that takes long does not stand before the others at
	// the next tick again.
	ctx = context.WithoutCancel(ctx)
	entry = b.unsettled(ctx, entry, got, err)
	return got, entry, b.revocations.put(ctx, s, entry.key(), entry)
}

// isStorageError tells a failure of ours from an answer, or no answer, of Modal's.
func isStorageError(err error) bool {
	var r *refusal
	return modalapi.KindOf(err) == modalapi.KindNone && !errors.As(err, &r)
}

// unsettled is the entry after an attempt that did not see the token refused.
func (b *backend) unsettled(ctx context.Context, entry *revocation, got verdict, err error) *revocation {
	why := "Modal still accepts the token"
	if err != nil {
		why = err.Error()
	}
	if got == verdictAccepted && entry.Method == methodManual {
		return entry.tried(b.now(), why)
	}
	if got == verdictAccepted {
		why = "Modal acknowledged the deletion and still accepts the token"
	}
	after := entry.tried(b.now(), why)
	after.Unconfirmed = entry.Unconfirmed || got == verdictAccepted
	b.Logger().Warn("token not seen refused", "role", entry.Role, "version", entry.Version, "token_id", entry.ID,
		"service_user", entry.serviceUser(), "attempts", after.Attempts, "error", why)
	b.event(ctx, eventRevokeFail, change{path: prefixRevocations + entry.key(), role: entry.Role, version: entry.Version, tokenID: entry.ID})
	return after
}

// conclude ends an entry whose token Modal refuses.
func (b *backend) conclude(ctx context.Context, s logical.Storage, entry *revocation) error {
	if err := b.drop(ctx, s, entry); err != nil {
		return err
	}
	b.Logger().Info("modal refuses the token", "role", entry.Role, "version", entry.Version, "token_id", entry.ID,
		"service_user", entry.serviceUser(), "reason", entry.Reason)
	b.event(ctx, eventRevoke, change{path: prefixRevocations + entry.key(), role: entry.Role, version: entry.Version, tokenID: entry.ID})
	return nil
}

// drop removes an entry, and first what only the entry still answers for: the credential that a
// half-finished role delete left behind, and the note of the token's holder. The caller holds the
// role's lock.
func (b *backend) drop(ctx context.Context, s logical.Storage, entry *revocation) error {
	b.handover.Lock()
	defer b.handover.Unlock()
	left, err := b.credentials.get(ctx, s, entry.Role)
	if err != nil {
		return err
	}
	tokenID := entry.ID
	if entry.isOf(left) {
		tokenID = left.ID
	}
	if tokenID != "" {
		if err := b.holders.delete(ctx, s, tokenID); err != nil {
			return err
		}
	}
	if entry.isOf(left) {
		if err := b.credentials.delete(ctx, s, entry.Role); err != nil {
			return err
		}
	}
	return b.revocations.delete(ctx, s, entry.key())
}
