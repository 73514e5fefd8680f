// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// Queue ends the tokens of the revocation queue. It removes an entry only with proof that its token is dead.
type Queue struct {
	mount  *state.Mount
	owners *state.Owners
	guard  *Guard
}

// NewQueue returns the revocation queue of a mount.
func NewQueue(m *state.Mount, o *state.Owners, g *Guard) *Queue {
	return &Queue{mount: m, owners: o, guard: g}
}

// Trigger says who asked to process an entry.
type Trigger int

// Triggers.
const (
	WhenDue   Trigger = iota // by the worker: what is due, and nothing else
	OnRequest                // by an operator: now, but nothing within its grace period
	ByForce                  // by an operator: now, whatever was promised
)

// Outcome is the result of processing an entry.
type Outcome int

// Outcomes.
const (
	Gone     Outcome = iota // the entry was no longer there, or another one answers for the token
	Current                 // the token is in use; the entry was dropped
	NotDue                  // it is not time; nothing was done
	Revoked                 // Modal refused the token; the entry was dropped
	Accepted                // Modal still accepts the token
	InUse                   // the token is used still, and lives on a little
	Unknown                 // Modal did not say
)

// orUnknown is the verdict, or that there is none where it could not be reached.
func (v Outcome) orUnknown(err error) Outcome {
	if err != nil {
		return Unknown
	}
	return v
}

// Process deals with one entry and drops it or stores what came of it. The entry returned is the one that
// stays, or whose token Modal refuses, nil when there is none. Waiting for the role's lock ends with wait.
func (q *Queue) Process(ctx, wait context.Context, id string, w Trigger) (Outcome, *model.Revocation, error) {
	entry, unlock, err := q.Lock(ctx, wait, id)
	if err != nil || entry == nil {
		return Gone, nil, err
	}
	defer unlock()
	return q.ProcessLocked(ctx, entry, w)
}

// Lock takes the lock of the role behind an entry, and reads the entry under it. A token may have
// gone to another role, and left it, while the lock was waited for: then that role's lock is the one.
func (q *Queue) Lock(ctx, wait context.Context, id string) (entry *model.Revocation, unlock func(), err error) {
	entry, err = q.mount.Queue.Get(ctx, id)
	for err == nil && entry != nil {
		name := entry.Role
		if unlock, err = q.lockFor(wait, entry); err != nil {
			return nil, nil, err
		}
		entry, err = q.mount.Queue.Get(ctx, id)
		if err == nil && entry != nil && entry.Role == name {
			return entry, unlock, nil
		}
		unlock()
	}
	return nil, nil, err
}

// lockFor is the lock of what an entry belongs to: a lease, a role, or config.
func (q *Queue) lockFor(ctx context.Context, entry *model.Revocation) (unlock func(), err error) {
	if entry.Leased {
		return q.mount.LockLease(ctx, entry.Key())
	}
	return q.mount.LockOwner(ctx, entry.Role)
}

// ProcessLocked is attend for a caller that holds the role's lock. What was true when the entry was
// listed need not be true any more: all is decided here.
func (q *Queue) ProcessLocked(ctx context.Context, stored *model.Revocation, w Trigger) (Outcome, *model.Revocation, error) {
	got, entry, err := q.precheck(ctx, stored, w)
	if got != Unknown || err != nil {
		return got, entry, err
	}
	if w == WhenDue && entry.CanDelete() && !entry.Forced {
		blocked, _ := q.guard.last(q.mount.Now())
		switch {
		case blocked.blockedAll != nil:
			return NotDue, entry, nil //nolint:nilerr // until an operator decides
		case blocked.blockedServiceUsers != nil && entry.ServiceUserName() != "":
			return q.recordSilence(ctx, entry, blocked.blockedServiceUsers)
		}
	}
	own := *entry
	got, err = q.end(ctx, &own)
	return q.recordResult(ctx, &own, got, err)
}

// precheck lets through (verdictUnknown, no error) what may be ended now, with its intent in storage.
func (q *Queue) precheck(ctx context.Context, entry *model.Revocation, w Trigger) (Outcome, *model.Revocation, error) {
	settled, err := q.SettledElsewhere(ctx, entry)
	switch {
	case settled == NotDue && w != WhenDue:
		return settled, nil, entry.RefuseBorrowed()
	case err != nil || settled != Unknown:
		return settled, nil, err
	}
	now := q.mount.Now()
	if entry.HasImpossibleTimes(now) {
		entry = entry.RepairTimes(now)
		if err := q.mount.Queue.Put(ctx, entry.Key(), entry); err != nil {
			return Unknown, entry, err
		}
	}
	switch {
	case w == WhenDue && !entry.IsDue(now):
		return NotDue, entry, nil
	case w == OnRequest && entry.Leased && now.Before(entry.NotBefore): // a read may be making it just now
		return NotDue, entry, model.UserErrorf("token %s is a lease's of role %s, until %s at the latest: end its lease (%s ends all of the role), "+
			"or end it now with: vault write %srevocations/%s force=true; nothing was changed",
			cmp.Or(entry.ID, entry.Key()), entry.Role, entry.NotBefore.Format(time.RFC3339), q.mount.Commands().RevokeLeases(entry.Role), q.mount.CommandPrefix(), entry.Key())
	case w == OnRequest && entry.CanDelete() && entry.InGrace(now):
		return NotDue, entry, model.UserErrorf("token %s of %s is in its grace period until %s, and may still be used: end it now with: vault write %srevocations/%s force=true; nothing was changed",
			entry.Key(), entry.Whose(), entry.NotBefore.Format(time.RFC3339), q.mount.CommandPrefix(), entry.Key())
	case w == ByForce && !entry.Forced:
		entry = entry.WithForce(now)
		return Unknown, entry, q.mount.Queue.Put(ctx, entry.Key(), entry)
	}
	return Unknown, entry, nil
}

// SettledElsewhere drops the entry of a token that is in use, and one beside which another entry answers
// for the same token: what a cut left under a service user's name says nothing of a token that was
// current since.
func (q *Queue) SettledElsewhere(ctx context.Context, entry *model.Revocation) (Outcome, error) {
	holder, err := q.owners.UserOf(ctx, entry)
	if err != nil {
		return Unknown, err
	}
	if holder != "" && entry.Leased { // brought unproven: its lease ends it once it is replaced
		return NotDue, nil
	}
	if holder != "" {
		q.mount.Log().Info("token is current after all", "role", entry.Role, "token_id", entry.ID, "owner", holder)
		return Current, q.mount.Queue.Delete(ctx, entry.Key())
	}
	if entry.ID == "" || entry.ID == entry.Key() || entry.Leased {
		return Unknown, nil
	}
	other, err := q.mount.Queue.Get(ctx, entry.ID)
	if err != nil || other == nil || other.Identity != entry.Identity {
		return Unknown, err
	}
	return Gone, q.mount.Queue.Delete(ctx, entry.Key())
}

// recordResult stores what came of an attempt.
func (q *Queue) recordResult(ctx context.Context, entry *model.Revocation, got Outcome, err error) (Outcome, *model.Revocation, error) {
	switch {
	case got == Revoked:
		return got, entry, q.Complete(ctx, entry)
	case got == InUse:
		entry = entry.InUse(q.mount.Now())
		return got, entry, q.mount.Queue.Put(ctx, entry.Key(), entry)
	case got == Current:
		return got, nil, err // whatever took the token into use took its entry away
	case errors.Is(ctx.Err(), context.Canceled):
		return Unknown, entry, fmt.Errorf("revoking %s was broken off: %w", entry.Key(), ctx.Err())
	case got == Unknown && model.IsStorageError(err):
		return got, entry, err
	}
	// Also after its time was up, so that an entry that takes long does not stand before the others at
	// the next tick again.
	entry = q.recordFailure(ctx, entry, err)
	return got, entry, q.mount.Queue.Put(ctx, entry.Key(), entry)
}

// recordSilence leaves an entry due while Modal does not answer, so that it ends as soon as Modal does, however
// long that took. It is noted once.
func (q *Queue) recordSilence(ctx context.Context, entry *model.Revocation, cause error) (Outcome, *model.Revocation, error) {
	if !entry.LastAttempt.Before(q.guard.silence()) {
		return NotDue, entry, nil
	}
	after := q.recordFailure(ctx, entry, cause)
	after.NextAttempt = entry.NextAttempt
	return Unknown, after, q.mount.Queue.Put(ctx, after.Key(), after)
}

// recordFailure returns the revocation after an attempt that did not prove the token revoked.
func (q *Queue) recordFailure(ctx context.Context, entry *model.Revocation, err error) *model.Revocation {
	after := *entry
	var why string
	switch {
	case err != nil:
		why = err.Error()
	case !entry.CanDelete():
		return entry.WithAttempt(q.mount.Now(), "Modal still accepts the token", q.mount.Jitter)
	case entry.Acknowledged:
		why = "Modal acknowledged the deletion and still accepts the token"
		after.Unconfirmed = true
	case entry.ServiceUserName() != "":
		why = fmt.Sprintf("Modal says that service user %s does not exist, and still accepts its token", entry.Identity)
	default:
		why = "Modal says that the token does not exist, and still accepts it"
	}
	if entry.RefusedReason != "" {
		return q.recordRefusal(ctx, entry, why)
	}
	tried := after.WithAttempt(q.mount.Now(), why, q.mount.Jitter)
	q.mount.Log().Warn("revocation failed", "role", entry.Role, "version", entry.Version, "token_id", entry.ID,
		"service_user", entry.ServiceUserName(), "attempts", tried.Attempts, "error", why)
	q.mount.Publish(ctx, entry.Event(model.EventRevokeFail))
	return tried
}

// recordRefusal is the entry of a token that Modal would not let the engine end. Somebody is told once.
func (q *Queue) recordRefusal(ctx context.Context, entry *model.Revocation, why string) *model.Revocation {
	after := entry.WithAttempt(q.mount.Now(), why, q.mount.Jitter)
	if entry.LastError == after.LastError {
		return after
	}
	q.mount.Log().Warn("a person has to end the token", "role", entry.Role, "version", entry.Version, "token_id", entry.ID, "modal_said", entry.RefusedReason)
	q.mount.Publish(ctx, entry.Event(model.EventRevokeManual))
	return after
}

// Complete ends an entry whose token Modal refuses. What is left to people may have expired, with its
// service user still there.
func (q *Queue) Complete(ctx context.Context, entry *model.Revocation) error {
	if !entry.CanDelete() {
		if err := q.LeaveServiceUser(ctx, entry); err != nil {
			return err
		}
	}
	if err := q.Remove(ctx, entry); err != nil {
		return err
	}
	q.guard.noteDeleted(entry.ServiceUserName(), q.mount.Now())
	q.mount.Log().Info("token revoked", "role", entry.Role, "version", entry.Version, "token_id", entry.ID,
		"service_user", entry.ServiceUserName(), "reason", entry.Reason, "proof", entry.Proof())
	revoked := entry.Event(model.EventRevoke)
	revoked.Proof = entry.Proof()
	q.mount.Publish(ctx, revoked)
	return nil
}

// Remove removes an entry, and first what only the entry still answers for: the credential that a
// half-finished role delete left behind, the note of the token's holder, and what a cut left under the
// service user's name. The caller holds the role's lock.
func (q *Queue) Remove(ctx context.Context, entry *model.Revocation) error {
	q.owners.AssignMu.Lock()
	defer q.owners.AssignMu.Unlock()
	left, err := q.mount.Credential(ctx, entry.Role)
	if err != nil {
		return err
	}
	tokenID := entry.ID
	if entry.IsOf(left) {
		tokenID = left.ID
	}
	if tokenID != "" {
		if err := q.owners.ForgetOwner(ctx, tokenID, entry.Role); err != nil {
			return err
		}
	}
	if entry.IsOf(left) {
		if err := q.mount.Credentials.Delete(ctx, entry.Role); err != nil {
			return err
		}
	}
	if name := entry.ServiceUserName(); name != "" && name != entry.Key() {
		if err := q.owners.RemoveRevocation(ctx, name); err != nil {
			return err
		}
	}
	return q.mount.Queue.Delete(ctx, entry.Key())
}

// LeaveServiceUser lets the mount go on although Vault no longer tracks the service user of a revocation: it is an orphan from
// now on, and accepted.
func (q *Queue) LeaveServiceUser(ctx context.Context, entry *model.Revocation) error {
	if !strings.HasPrefix(entry.ServiceUserName(), q.mount.NamePrefix()) {
		return nil
	}
	return q.guard.Accept(ctx, entry.Identity)
}

// end makes Modal reject a revocation's token, where the engine may, and proves it. The error says why nothing is
// proven. The caller holds the role's lock and stores the revocation, which is its own copy.
func (q *Queue) end(ctx context.Context, entry *model.Revocation) (Outcome, error) {
	cfg, err := q.mount.LoadConfig(ctx)
	if err != nil {
		return Unknown, err
	}
	if !entry.CanDelete() {
		// An unverified token's owner becomes known only now. If an operator forced the revocation, the engine may
		// then delete it.
		if got, failed := q.prove(ctx, cfg, entry); got != Accepted || !entry.CanDelete() {
			return got, failed
		}
	}
	if entry.IdentityType != modalapi.IdentityServiceUser {
		return q.endMemberToken(ctx, cfg, entry)
	}
	return q.endServiceUser(ctx, cfg, entry)
}

// checkReplacementWorks returns an error while Modal rejects the token that replaced this one: the previous token may be the last
// that works. The current token may be one that was stored with verify=false.
func (q *Queue) checkReplacementWorks(ctx context.Context, cfg *model.Config, entry *model.Revocation) error {
	if entry.Forced || entry.Leased || entry.NotYetCurrent() {
		return nil
	}
	current, name, err := q.replacement(ctx, cfg, entry)
	if err != nil || current == nil || current.ID == entry.ID {
		return err
	}
	switch _, err = q.mount.WhoIs(ctx, cfg, *current); modalapi.KindOf(err) {
	case modalapi.KindRefused:
		return model.UserErrorf("Modal rejects token %s, %s, so this earlier token is kept: replace that token first, or end this one all the same with: vault write %srevocations/%s force=true",
			current.ID, name, q.mount.CommandPrefix(), entry.Key())
	case modalapi.KindUnavailable, modalapi.KindThrottled:
		if model.SameServer(current.ServerURL, entry.ServerURL) { // another server may be out of reach for good
			return fmt.Errorf("could not learn whether Modal accepts token %s, %s, so this earlier token is kept: %w", current.ID, name, err)
		}
	default:
	}
	return nil
}

// replacement returns the token that is current in place of a revocation's token, and what it is in words: nil
// where the role, of the same generation, or config has none.
func (q *Queue) replacement(ctx context.Context, cfg *model.Config, entry *model.Revocation) (current *model.Token, name string, err error) {
	if entry.Role == "" {
		return cfg.Admin, "the admin token", nil
	}
	r, cred, err := q.mount.Current(ctx, entry.Role)
	if err != nil || cred == nil || !entry.IsOfGeneration(r) {
		return nil, "", err
	}
	return &cred.Token, "the current one of role " + entry.Role, nil
}

// markDeletionStarted stores, before Modal is asked to delete a token, that the token may be gone from now on: it never becomes
// current again. It reports whether the token came into use meanwhile; then the token is left alone. A node that
// leads no more cannot write, and so deletes no token that the leading node is making.
func (q *Queue) markDeletionStarted(ctx context.Context, entry *model.Revocation) (inUse bool, err error) {
	if entry.DeletionStarted {
		return false, nil
	}
	q.owners.AssignMu.Lock()
	defer q.owners.AssignMu.Unlock()
	holder, err := q.owners.UserOf(ctx, entry)
	if err != nil || holder != "" {
		return holder != "", err
	}
	entry.DeletionStarted = true
	stored := *entry
	return false, q.mount.Queue.Put(ctx, entry.Key(), &stored)
}

// orRejected is the verdict where the engine cannot delete a token, for the reason cause: somebody else may have
// deleted it. The rejection of a token that has expired does not show that its service user is gone.
func (q *Queue) orRejected(ctx context.Context, cfg *model.Config, entry *model.Revocation, cause error) (Outcome, error) {
	if !entry.WasAccepted() || entry.MayOnlyHaveExpired(q.mount.Now()) || entry.MayBeInUse(q.mount.Now()) || ctx.Err() != nil {
		return Unknown, cause
	}
	if entry.Reason == model.ReasonUnfinished { // the question below counts as a use of the candidate: see mayBeUsedElsewhere
		if inUse, failed := q.markDeletionStarted(ctx, entry); failed != nil || inUse {
			return Current.orUnknown(failed), failed
		}
	}
	got, err := q.prove(ctx, cfg, entry)
	switch {
	case got == Revoked:
		return Revoked, nil
	case !entry.FirstRejectedAt.IsZero() || model.IsStorageError(err):
		return Unknown, err
	}
	return Unknown, cause
}

// Ask learns whether a revocation's token is revoked, and changes nothing at Modal. Where the last use of the token
// matters, the service user's name is asked about: a question with the token itself would count as a use.
func (q *Queue) Ask(ctx context.Context, entry *model.Revocation) (Outcome, error) {
	cfg, err := q.mount.LoadConfig(ctx)
	if err != nil {
		return Unknown, err
	}
	if entry.MayBeInUse(q.mount.Now()) || (entry.Reason == model.ReasonUnfinished && !entry.DeletionStarted) {
		return q.proveByName(ctx, cfg, entry)
	}
	return q.prove(ctx, cfg, entry)
}
