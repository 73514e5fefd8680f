// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// wish is what is asked of an entry of the ledger.
type wish int

const (
	whenDue   wish = iota // by the worker: what is due, and nothing else
	onRequest             // by an operator: now, but nothing within its grace period
	byForce               // by an operator: now, whatever was promised
)

// verdict is what attending to an entry came to.
type verdict int

const (
	verdictGone     verdict = iota // the entry was no longer there, or another one answers for the token
	verdictCurrent                 // the token is in use; the entry was dropped
	verdictNotDue                  // it is not time; nothing was done
	verdictRevoked                 // Modal refused the token; the entry was dropped
	verdictAccepted                // Modal still accepts the token
	verdictUnknown                 // Modal did not say
)

// attend deals with one entry and drops it or stores what came of it. The entry returned is the one that
// stays, nil when none does. Waiting for the role's lock ends with wait.
func (b *backend) attend(ctx, wait context.Context, id string, w wish) (verdict, *revocation, error) {
	entry, unlock, err := b.lockEntry(ctx, wait, id)
	if err != nil || entry == nil {
		return verdictGone, nil, err
	}
	defer unlock()
	return b.attendLocked(ctx, entry, w)
}

// lockEntry takes the lock of the role behind an entry, and reads the entry under it.
func (b *backend) lockEntry(ctx, wait context.Context, id string) (entry *revocation, unlock func(), err error) {
	entry, err = b.revocations.Get(ctx, id)
	if err != nil || entry == nil {
		return nil, nil, err
	}
	unlock, err = b.lockRole(wait, entry.Role)
	if err != nil {
		return nil, nil, err
	}
	entry, err = b.revocations.Get(ctx, id)
	if err != nil || entry == nil {
		unlock()
		return nil, nil, err
	}
	return entry, unlock, nil
}

// attendLocked is attend for a caller that holds the role's lock. What was true when the entry was
// listed need not be true any more: all is decided here.
func (b *backend) attendLocked(ctx context.Context, stored *revocation, w wish) (verdict, *revocation, error) {
	got, entry, err := b.admit(ctx, stored, w)
	if got != verdictUnknown || err != nil {
		return got, entry, err
	}
	own := *entry
	got, err = b.end(ctx, &own)
	return b.note(ctx, &own, got, err)
}

// admit lets through (verdictUnknown, no error) what may be ended now, with its intent in storage.
func (b *backend) admit(ctx context.Context, entry *revocation, w wish) (verdict, *revocation, error) {
	if settled, err := b.settledElsewhere(ctx, entry); err != nil || settled != verdictUnknown {
		return settled, nil, err
	}
	now := b.now()
	if entry.misdated(now) {
		entry = entry.redated(now)
		if err := b.revocations.Put(ctx, entry.key(), entry); err != nil {
			return verdictUnknown, entry, err
		}
	}
	switch {
	case w == whenDue && !entry.due(now):
		return verdictNotDue, entry, nil
	case w == onRequest && entry.ours() && entry.inGrace(now):
		return verdictNotDue, entry, refusef("token %s of role %s is in its grace period until %s, and consumers may still use it: write force=true to end it now; nothing was changed",
			entry.key(), entry.Role, entry.NotBefore.Format(time.RFC3339))
	case w == byForce && !entry.Forced:
		entry = entry.forced(now)
		return verdictUnknown, entry, b.revocations.Put(ctx, entry.key(), entry)
	}
	return verdictUnknown, entry, nil
}

// settledElsewhere drops the entry of a token that is in use, and one beside which another entry answers
// for the same token: what a cut left under a service user's name says nothing of a token that was
// current since.
func (b *backend) settledElsewhere(ctx context.Context, entry *revocation) (verdict, error) {
	holder, err := b.heldBy(ctx, entry)
	if err != nil {
		return verdictUnknown, err
	}
	if holder != "" {
		b.log().Info("token is current after all", "role", entry.Role, "token_id", entry.ID, "holder", holder)
		return verdictCurrent, b.revocations.Delete(ctx, entry.key())
	}
	if entry.ID == "" || entry.ID == entry.key() {
		return verdictUnknown, nil
	}
	other, err := b.revocations.Get(ctx, entry.ID)
	if err != nil || other == nil {
		return verdictUnknown, err
	}
	return verdictGone, b.revocations.Delete(ctx, entry.key())
}

// note stores what came of an attempt.
func (b *backend) note(ctx context.Context, entry *revocation, got verdict, err error) (verdict, *revocation, error) {
	switch {
	case got == verdictRevoked:
		return got, nil, b.conclude(ctx, entry)
	case errors.Is(ctx.Err(), context.Canceled):
		return verdictUnknown, entry, fmt.Errorf("revoking %s was broken off: %w", entry.key(), ctx.Err())
	case got == verdictUnknown && isStorageError(err):
		return got, entry, err
	}
	// Also after its time was up, so that an entry that takes long does not stand before the others at
	// the next tick again.
	entry = b.unsettled(ctx, entry, got, err)
	return got, entry, b.revocations.Put(ctx, entry.key(), entry)
}

// isStorageError tells a failure of ours from an answer, or no answer, of Modal's.
func isStorageError(err error) bool {
	var r *refusal
	return err != nil && modalapi.KindOf(err) == modalapi.KindNone && !errors.As(err, &r)
}

// unsettled is the entry after an attempt that did not see the token refused.
func (b *backend) unsettled(ctx context.Context, entry *revocation, got verdict, err error) *revocation {
	why := "Modal still accepts the token"
	if err != nil {
		why = err.Error()
	}
	if got == verdictAccepted && !entry.ours() {
		return entry.tried(b.now(), why)
	}
	if got == verdictAccepted {
		why = "Modal acknowledged the deletion and still accepts the token"
	}
	after := entry.tried(b.now(), why)
	after.Unconfirmed = entry.Unconfirmed || got == verdictAccepted
	b.log().Warn("token not seen refused", "role", entry.Role, "version", entry.Version, "token_id", entry.ID,
		"service_user", entry.serviceUser(), "attempts", after.Attempts, "error", why)
	b.event(ctx, eventRevokeFail, change{path: prefixRevocations + entry.key(), role: entry.Role, version: entry.Version, tokenID: entry.ID})
	return after
}

// conclude ends an entry whose token Modal refuses.
func (b *backend) conclude(ctx context.Context, entry *revocation) error {
	if err := b.drop(ctx, entry); err != nil {
		return err
	}
	b.log().Info("modal refuses the token", "role", entry.Role, "version", entry.Version, "token_id", entry.ID,
		"service_user", entry.serviceUser(), "reason", entry.Reason)
	b.event(ctx, eventRevoke, change{path: prefixRevocations + entry.key(), role: entry.Role, version: entry.Version, tokenID: entry.ID})
	return nil
}

// drop removes an entry, and first what only the entry still answers for: the credential that a
// half-finished role delete left behind, and the note of the token's holder. The caller holds the
// role's lock.
func (b *backend) drop(ctx context.Context, entry *revocation) error {
	b.handover.Lock()
	defer b.handover.Unlock()
	left, err := b.credentials.Get(ctx, entry.Role)
	if err != nil {
		return err
	}
	tokenID := entry.ID
	if entry.isOf(left) {
		tokenID = left.ID
	}
	if tokenID != "" {
		if err := b.forgetHolder(ctx, tokenID, entry.Role); err != nil {
			return err
		}
	}
	if entry.isOf(left) {
		if err := b.credentials.Delete(ctx, entry.Role); err != nil {
			return err
		}
	}
	return b.revocations.Delete(ctx, entry.key())
}
