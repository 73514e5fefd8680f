// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
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
	verdictHeld                    // the token is used still, and lives on a little
	verdictUnknown                 // Modal did not say
)

// orUnknown is the verdict, or that there is none where it could not be reached.
func (v verdict) orUnknown(err error) verdict {
	if err != nil {
		return verdictUnknown
	}
	return v
}

// attend deals with one entry and drops it or stores what came of it. The entry returned is the one that
// stays, or whose token Modal refuses, nil when there is none. Waiting for the role's lock ends with wait.
func (e *Engine) attend(ctx, wait context.Context, id string, w wish) (verdict, *Revocation, error) {
	entry, unlock, err := e.lockEntry(ctx, wait, id)
	if err != nil || entry == nil {
		return verdictGone, nil, err
	}
	defer unlock()
	return e.attendLocked(ctx, entry, w)
}

// lockEntry takes the lock of the role behind an entry, and reads the entry under it. A token may have
// gone to another role, and left it, while the lock was waited for: then that role's lock is the one.
func (e *Engine) lockEntry(ctx, wait context.Context, id string) (entry *Revocation, unlock func(), err error) {
	entry, err = e.revocations.Get(ctx, id)
	for err == nil && entry != nil {
		name := entry.Role
		if unlock, err = e.lockFor(wait, entry); err != nil {
			return nil, nil, err
		}
		entry, err = e.revocations.Get(ctx, id)
		if err == nil && entry != nil && entry.Role == name {
			return entry, unlock, nil
		}
		unlock()
	}
	return nil, nil, err
}

// lockFor is the lock of what an entry belongs to: a lease, a role, or config.
func (e *Engine) lockFor(ctx context.Context, entry *Revocation) (unlock func(), err error) {
	if entry.Leased {
		return e.lockLease(ctx, entry.Key())
	}
	return e.lockOwner(ctx, entry.Role)
}

// attendLocked is attend for a caller that holds the role's lock. What was true when the entry was
// listed need not be true any more: all is decided here.
func (e *Engine) attendLocked(ctx context.Context, stored *Revocation, w wish) (verdict, *Revocation, error) {
	got, entry, err := e.admit(ctx, stored, w)
	if got != verdictUnknown || err != nil {
		return got, entry, err
	}
	if w == whenDue && entry.ours() && !entry.Forced {
		blocked, _ := e.guard.last(e.Now())
		switch {
		case blocked.all != nil:
			return verdictNotDue, entry, nil //nolint:nilerr // until an operator decides
		case blocked.serviceUsers != nil && entry.serviceUser() != "":
			return e.unanswered(ctx, entry, blocked.serviceUsers)
		}
	}
	own := *entry
	got, err = e.end(ctx, &own)
	return e.note(ctx, &own, got, err)
}

// admit lets through (verdictUnknown, no error) what may be ended now, with its intent in storage.
func (e *Engine) admit(ctx context.Context, entry *Revocation, w wish) (verdict, *Revocation, error) {
	settled, err := e.settledElsewhere(ctx, entry)
	switch {
	case settled == verdictNotDue && w != whenDue:
		return settled, nil, entry.refuseTaken()
	case err != nil || settled != verdictUnknown:
		return settled, nil, err
	}
	now := e.Now()
	if entry.misdated(now) {
		entry = entry.redated(now)
		if err := e.revocations.Put(ctx, entry.Key(), entry); err != nil {
			return verdictUnknown, entry, err
		}
	}
	switch {
	case w == whenDue && !entry.due(now):
		return verdictNotDue, entry, nil
	case w == onRequest && entry.Leased && now.Before(entry.NotBefore): // a read may be making it just now
		return verdictNotDue, entry, Refusef("token %s is a lease's of role %s, until %s at the latest: end its lease (%s ends all of the role), "+
			"or end it now with: vault write %srevocations/%s force=true; nothing was changed",
			cmp.Or(entry.ID, entry.Key()), entry.Role, entry.NotBefore.Format(time.RFC3339), e.Commands().RevokeLeases(entry.Role), e.mount(), entry.Key())
	case w == onRequest && entry.ours() && entry.inGrace(now):
		return verdictNotDue, entry, Refusef("token %s of %s is in its grace period until %s, and may still be used: end it now with: vault write %srevocations/%s force=true; nothing was changed",
			entry.Key(), entry.whose(), entry.NotBefore.Format(time.RFC3339), e.mount(), entry.Key())
	case w == byForce && !entry.Forced:
		entry = entry.forced(now)
		return verdictUnknown, entry, e.revocations.Put(ctx, entry.Key(), entry)
	}
	return verdictUnknown, entry, nil
}

// settledElsewhere drops the entry of a token that is in use, and one beside which another entry answers
// for the same token: what a cut left under a service user's name says nothing of a token that was
// current since.
func (e *Engine) settledElsewhere(ctx context.Context, entry *Revocation) (verdict, error) {
	holder, err := e.heldBy(ctx, entry)
	if err != nil {
		return verdictUnknown, err
	}
	if holder != "" && entry.Leased { // brought unproven: its lease ends it once it is replaced
		return verdictNotDue, nil
	}
	if holder != "" {
		e.log().Info("token is current after all", "role", entry.Role, "token_id", entry.ID, "owner", holder)
		return verdictCurrent, e.revocations.Delete(ctx, entry.Key())
	}
	if entry.ID == "" || entry.ID == entry.Key() || entry.Leased {
		return verdictUnknown, nil
	}
	other, err := e.revocations.Get(ctx, entry.ID)
	if err != nil || other == nil || other.Identity != entry.Identity {
		return verdictUnknown, err
	}
	return verdictGone, e.revocations.Delete(ctx, entry.Key())
}

// refuseTaken says of a lease's token why it is left alone, to whoever asks for more.
func (r *Revocation) refuseTaken() error {
	return Refusef("token %s is a lease's of role %s, and was brought, unproven, to another role or as the admin token, which uses it: "+
		"bring another token there first; the entry stays", r.ID, r.Role)
}

// note stores what came of an attempt.
func (e *Engine) note(ctx context.Context, entry *Revocation, got verdict, err error) (verdict, *Revocation, error) {
	switch {
	case got == verdictRevoked:
		return got, entry, e.conclude(ctx, entry)
	case got == verdictHeld:
		entry = entry.held(e.Now())
		return got, entry, e.revocations.Put(ctx, entry.Key(), entry)
	case got == verdictCurrent:
		return got, nil, err // whatever took the token into use took its entry away
	case errors.Is(ctx.Err(), context.Canceled):
		return verdictUnknown, entry, fmt.Errorf("revoking %s was broken off: %w", entry.Key(), ctx.Err())
	case got == verdictUnknown && isStorageError(err):
		return got, entry, err
	}
	// Also after its time was up, so that an entry that takes long does not stand before the others at
	// the next tick again.
	entry = e.unsettled(ctx, entry, err)
	return got, entry, e.revocations.Put(ctx, entry.Key(), entry)
}

// unanswered leaves an entry due while Modal does not answer, so that it ends as soon as Modal does, however
// long that took. It is noted once.
func (e *Engine) unanswered(ctx context.Context, entry *Revocation, cause error) (verdict, *Revocation, error) {
	if !entry.LastAttempt.Before(e.guard.silence()) {
		return verdictNotDue, entry, nil
	}
	after := e.unsettled(ctx, entry, cause)
	after.NextAttempt = entry.NextAttempt
	return verdictUnknown, after, e.revocations.Put(ctx, after.Key(), after)
}

// isStorageError tells a failure of ours from an answer, or no answer, of Modal's.
func isStorageError(err error) bool {
	var r *refusal
	return err != nil && modalapi.KindOf(err) == modalapi.KindNone && !errors.As(err, &r)
}

// unsettled returns the revocation after an attempt that did not prove the token revoked.
func (e *Engine) unsettled(ctx context.Context, entry *Revocation, err error) *Revocation {
	after := *entry
	var why string
	switch {
	case err != nil:
		why = err.Error()
	case !entry.ours():
		return entry.tried(e.Now(), "Modal still accepts the token")
	case entry.Acknowledged:
		why = "Modal acknowledged the deletion and still accepts the token"
		after.Unconfirmed = true
	case entry.serviceUser() != "":
		why = fmt.Sprintf("Modal says that service user %s does not exist, and still accepts its token", entry.Identity)
	default:
		why = "Modal says that the token does not exist, and still accepts it"
	}
	if entry.Declined != "" {
		return e.declined(ctx, entry, why)
	}
	tried := after.tried(e.Now(), why)
	e.log().Warn("revocation failed", "role", entry.Role, "version", entry.Version, "token_id", entry.ID,
		"service_user", entry.serviceUser(), "attempts", tried.Attempts, "error", why)
	e.event(ctx, entry.event(EventRevokeFail))
	return tried
}

// declined is the entry of a token that Modal would not let the engine end. Somebody is told once.
func (e *Engine) declined(ctx context.Context, entry *Revocation, why string) *Revocation {
	after := entry.tried(e.Now(), why)
	if entry.LastError == after.LastError {
		return after
	}
	e.log().Warn("a person has to end the token", "role", entry.Role, "version", entry.Version, "token_id", entry.ID, "modal_said", entry.Declined)
	e.event(ctx, entry.event(EventRevokeManual))
	return after
}

// conclude ends an entry whose token Modal refuses. What is left to people may have expired, with its
// service user still there.
func (e *Engine) conclude(ctx context.Context, entry *Revocation) error {
	if !entry.ours() {
		if err := e.leaveUser(ctx, entry); err != nil {
			return err
		}
	}
	if err := e.drop(ctx, entry); err != nil {
		return err
	}
	e.guard.noteDeleted(entry.serviceUser(), e.Now())
	e.log().Info("token revoked", "role", entry.Role, "version", entry.Version, "token_id", entry.ID,
		"service_user", entry.serviceUser(), "reason", entry.Reason, "proof", entry.Proof())
	revoked := entry.event(EventRevoke)
	revoked.Proof = entry.Proof()
	e.event(ctx, revoked)
	return nil
}

// drop removes an entry, and first what only the entry still answers for: the credential that a
// half-finished role delete left behind, the note of the token's holder, and what a cut left under the
// service user's name. The caller holds the role's lock.
func (e *Engine) drop(ctx context.Context, entry *Revocation) error {
	e.handover.Lock()
	defer e.handover.Unlock()
	left, err := e.credential(ctx, entry.Role)
	if err != nil {
		return err
	}
	tokenID := entry.ID
	if entry.isOf(left) {
		tokenID = left.ID
	}
	if tokenID != "" {
		if err := e.forgetHolder(ctx, tokenID, entry.Role); err != nil {
			return err
		}
	}
	if entry.isOf(left) {
		if err := e.credentials.Delete(ctx, entry.Role); err != nil {
			return err
		}
	}
	if name := entry.serviceUser(); name != "" && name != entry.Key() {
		if err := e.removeEntry(ctx, name); err != nil {
			return err
		}
	}
	return e.revocations.Delete(ctx, entry.Key())
}
