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

// Revoker ends the tokens of the revocation queue. It removes a revocation only with proof that Modal rejects the
// token.
type Revoker struct {
	mount  *state.Mount
	owners *state.Owners
	guard  *Guard
}

// NewRevoker returns the revoker of a mount.
func NewRevoker(m *state.Mount, o *state.Owners, g *Guard) *Revoker {
	return &Revoker{mount: m, owners: o, guard: g}
}

// Trigger says what asked to process a revocation.
type Trigger int

// Triggers.
const (
	WhenDue   Trigger = iota // only when the revocation is due
	OnRequest                // now, but not within the grace period
	ByForce                  // now, also within the grace period
)

// Outcome is the result of an attempt to end the token of a revocation.
type Outcome int

// Outcomes.
const (
	Gone      Outcome = iota // the revocation no longer exists, or another revocation covers the token
	Current                  // the token is a role's current one or the admin token; the revocation was removed
	Postponed                // the engine made no attempt: it is too early, or the restore guard forbids it
	Revoked                  // Modal rejects the token; the revocation was removed
	Accepted                 // Modal still accepts the token
	InUse                    // somebody still uses the token; it lives on for a while
	Unknown                  // the attempt did not find out whether Modal rejects the token
)

// orUnknown returns the outcome, or Unknown if err is not nil.
func (o Outcome) orUnknown(err error) Outcome {
	if err != nil {
		return Unknown
	}
	return o
}

// Process makes one attempt to end the token of a revocation, and removes the revocation or stores the result. It
// returns the revocation that remains or is done, or nil. Process stops waiting for the role's lock when the context
// wait ends.
func (rv *Revoker) Process(ctx, wait context.Context, id string, trigger Trigger) (Outcome, *model.Revocation, error) {
	entry, unlock, err := rv.Lock(ctx, wait, id)
	if err != nil || entry == nil {
		return Gone, nil, err
	}
	defer unlock()
	return rv.ProcessLocked(ctx, entry, trigger)
}

// Lock takes the lock that a revocation belongs to, and reads the revocation under that lock. While Lock waits, the
// token may move to another role. Lock then takes the lock of the new role.
func (rv *Revoker) Lock(ctx, wait context.Context, id string) (entry *model.Revocation, unlock func(), err error) {
	entry, err = rv.mount.Revocations.Get(ctx, id)
	for err == nil && entry != nil {
		name := entry.Role
		if unlock, err = rv.lockFor(wait, entry); err != nil {
			return nil, nil, err
		}
		entry, err = rv.mount.Revocations.Get(ctx, id)
		if err == nil && entry != nil && entry.Role == name {
			return entry, unlock, nil
		}
		unlock()
	}
	return nil, nil, err
}

// lockFor takes the lock of the lease, the role or config that a revocation belongs to.
func (rv *Revoker) lockFor(ctx context.Context, entry *model.Revocation) (unlock func(), err error) {
	if entry.Leased {
		return rv.mount.LockLease(ctx, entry.Key())
	}
	return rv.mount.LockOwner(ctx, entry.Role)
}

// ProcessLocked does the work of Process for a caller that holds the lock. It makes all decisions under the lock,
// because the revocation may have changed since it was listed.
func (rv *Revoker) ProcessLocked(ctx context.Context, stored *model.Revocation, trigger Trigger) (Outcome, *model.Revocation, error) {
	outcome, entry, err := rv.precheck(ctx, stored, trigger)
	if outcome != Unknown || err != nil {
		return outcome, entry, err
	}
	if trigger == WhenDue && entry.CanDelete() && !entry.Forced {
		if err = rv.guard.CompareWithPresentConfig(ctx); err != nil {
			return Unknown, entry, err
		}
		blocked, _ := rv.guard.last(rv.mount.Now())
		switch {
		case blocked.blockedAll != nil:
			return Postponed, entry, nil //nolint:nilerr // an operator must decide first
		case blocked.blockedServiceUsers != nil && entry.ServiceUserName() != "":
			return rv.recordNoAnswer(ctx, entry, blocked.blockedServiceUsers)
		}
	}
	attempt := *entry
	outcome, err = rv.end(ctx, &attempt)
	return rv.recordResult(ctx, &attempt, outcome, err)
}

// precheck returns Unknown and no error if the attempt may go on. In that case a forced revocation is in storage as
// forced before Modal is called.
func (rv *Revoker) precheck(ctx context.Context, entry *model.Revocation, trigger Trigger) (Outcome, *model.Revocation, error) {
	covered, err := rv.RemoveIfCovered(ctx, entry)
	switch {
	case covered == Postponed && trigger != WhenDue:
		return covered, nil, entry.UsedElsewhereError()
	case err != nil || covered != Unknown:
		return covered, nil, err
	}
	now := rv.mount.Now()
	if entry.HasImpossibleTimes(now) {
		entry = entry.RepairTimes(now)
		if err := rv.mount.Revocations.Put(ctx, entry.Key(), entry); err != nil {
			return Unknown, entry, err
		}
	}
	switch {
	case trigger == WhenDue && !entry.IsDue(now):
		return Postponed, entry, nil
	case trigger == OnRequest && entry.Leased && now.Before(entry.NotBefore): // a read may be creating the token at this moment
		return Postponed, entry, model.UserErrorf("token %s belongs to a lease of role %s, which ends on %s at the latest: revoke the lease (%s revokes all leases of the role), "+
			"or revoke the token now with: %s; nothing was changed",
			cmp.Or(entry.ID, entry.Key()), entry.Role, entry.NotBefore.Format(time.RFC3339), rv.mount.Commands().RevokeLeases(entry.Role), rv.mount.Commands().ForceRevocation(entry.Key()))
	case trigger == OnRequest && entry.CanDelete() && entry.InGrace(now):
		return Postponed, entry, model.UserErrorf("token %s of %s is in its grace period until %s and may still be in use: revoke it now with: %s; nothing was changed",
			entry.Key(), entry.Whose(), entry.NotBefore.Format(time.RFC3339), rv.mount.Commands().ForceRevocation(entry.Key()))
	case trigger == ByForce && !entry.Forced:
		entry = entry.WithForce(now)
		return Unknown, entry, rv.mount.Revocations.Put(ctx, entry.Key(), entry)
	}
	return Unknown, entry, nil
}

// RemoveIfCovered removes a revocation whose token is a role's current token or the admin token. It also removes a
// revocation under a service user's name if another revocation covers the same token: a crash left the first one
// behind, and its state is out of date. Otherwise it returns Unknown.
func (rv *Revoker) RemoveIfCovered(ctx context.Context, entry *model.Revocation) (Outcome, error) {
	owner, err := rv.owners.UserOf(ctx, entry)
	if err != nil {
		return Unknown, err
	}
	if owner != "" && entry.Leased { // an operator brought a lease's token with verify=false: the lease ends the token after its replacement
		return Postponed, nil
	}
	if owner != "" {
		rv.mount.Log().Info("a token in the revocation queue is current", "role", entry.Role, "token_id", entry.ID, "owner", owner)
		return Current, rv.mount.Revocations.Delete(ctx, entry.Key())
	}
	if entry.ID == "" || entry.ID == entry.Key() || entry.Leased {
		return Unknown, nil
	}
	other, err := rv.mount.Revocations.Get(ctx, entry.ID)
	if err != nil || other == nil || other.Identity != entry.Identity {
		return Unknown, err
	}
	return Gone, rv.mount.Revocations.Delete(ctx, entry.Key())
}

// recordResult removes the revocation, or stores the result of the attempt.
func (rv *Revoker) recordResult(ctx context.Context, entry *model.Revocation, outcome Outcome, err error) (Outcome, *model.Revocation, error) {
	switch {
	case outcome == Revoked:
		return outcome, entry, rv.Complete(ctx, entry)
	case outcome == InUse:
		entry = entry.InUse(rv.mount.Now())
		return outcome, entry, rv.mount.Revocations.Put(ctx, entry.Key(), entry)
	case outcome == Current:
		return outcome, nil, err // the operation that made the token current removed the revocation
	case errors.Is(ctx.Err(), context.Canceled):
		return Unknown, entry, fmt.Errorf("revoking %s was interrupted: %w", entry.Key(), ctx.Err())
	case outcome == Unknown && model.IsStorageError(err):
		return outcome, entry, err
	}
	// Store the failure also after a timeout. Otherwise a slow revocation would delay the others again at the next tick.
	entry = rv.recordFailure(ctx, entry, err)
	return outcome, entry, rv.mount.Revocations.Put(ctx, entry.Key(), entry)
}

// recordNoAnswer keeps a revocation due while Modal does not answer, so that the engine ends the token as soon as
// Modal answers. It stores the failure once for each period of silence.
func (rv *Revoker) recordNoAnswer(ctx context.Context, entry *model.Revocation, cause error) (Outcome, *model.Revocation, error) {
	if !entry.LastAttempt.Before(rv.guard.noAnswer()) {
		return Postponed, entry, nil
	}
	after := rv.recordFailure(ctx, entry, cause)
	after.NextAttempt = entry.NextAttempt
	return Unknown, after, rv.mount.Revocations.Put(ctx, after.Key(), after)
}

// recordFailure returns the revocation after an attempt that did not prove the token revoked.
func (rv *Revoker) recordFailure(ctx context.Context, entry *model.Revocation, err error) *model.Revocation {
	after := *entry
	var why string
	switch {
	case err != nil:
		why = err.Error()
	case !entry.CanDelete():
		return entry.WithAttempt(rv.mount.Now(), "Modal still accepts the token", rv.mount.Jitter)
	case entry.Acknowledged:
		why = "Modal acknowledged the deletion and still accepts the token"
		after.AcceptedAfterDeletion = true
	case entry.ServiceUserName() != "":
		why = fmt.Sprintf("Modal says that service user %s does not exist, and still accepts its token", entry.Identity)
	default:
		why = "Modal says that the token does not exist, and still accepts it"
	}
	if entry.RefusedReason != "" {
		return rv.recordRefusal(ctx, entry, why)
	}
	tried := after.WithAttempt(rv.mount.Now(), why, rv.mount.Jitter)
	rv.mount.Log().Warn("revocation failed", "role", entry.Role, "version", entry.Version, "token_id", entry.ID,
		"service_user", entry.ServiceUserName(), "attempts", tried.Attempts, "error", why)
	rv.mount.Publish(ctx, entry.Event(model.EventRevokeFail))
	return tried
}

// recordRefusal returns the revocation of a token that Modal does not let the engine delete. It logs and sends the
// event once for each error.
func (rv *Revoker) recordRefusal(ctx context.Context, entry *model.Revocation, why string) *model.Revocation {
	after := entry.WithAttempt(rv.mount.Now(), why, rv.mount.Jitter)
	if entry.LastError == after.LastError {
		return after
	}
	rv.mount.Log().Warn("a person has to delete the token", "role", entry.Role, "version", entry.Version, "token_id", entry.ID, "modal_said", entry.RefusedReason)
	rv.mount.Publish(ctx, entry.Event(model.EventRevokeManual))
	return after
}

// Complete removes a revocation whose token Modal rejects. If people had to delete the token, its service user may
// still exist, because the token may only have expired. Complete then accepts the service user as an orphan.
func (rv *Revoker) Complete(ctx context.Context, entry *model.Revocation) error {
	if !entry.CanDelete() {
		if err := rv.LeaveServiceUser(ctx, entry); err != nil {
			return err
		}
	}
	// Note the deletion first. Storage may remove the revocation and report a failure, and Modal's list may be old.
	rv.guard.noteDeleted(entry.ServiceUserName(), rv.mount.Now())
	if err := rv.Remove(ctx, entry); err != nil {
		return err
	}
	rv.mount.Log().Info("token revoked", "role", entry.Role, "version", entry.Version, "token_id", entry.ID,
		"service_user", entry.ServiceUserName(), "reason", entry.Reason, "proof", entry.Proof())
	revoked := entry.Event(model.EventRevoke)
	revoked.Proof = entry.Proof()
	rv.mount.Publish(ctx, revoked)
	return nil
}

// Remove removes a revocation, and before that the other entries that only this revocation refers to. These are the
// credential of a role whose deletion was interrupted, the note of the token's owner, and the revocation that a crash
// left under the service user's name. The caller holds the role's lock.
func (rv *Revoker) Remove(ctx context.Context, entry *model.Revocation) error {
	rv.owners.AssignMu.Lock()
	defer rv.owners.AssignMu.Unlock()
	left, err := rv.mount.Credential(ctx, entry.Role)
	if err != nil {
		return err
	}
	tokenID := entry.ID
	if entry.IsOf(left) {
		tokenID = left.ID
	}
	if tokenID != "" {
		if err := rv.owners.ForgetOwner(ctx, tokenID, entry.Role); err != nil {
			return err
		}
	}
	if entry.IsOf(left) {
		if err := rv.mount.Credentials.Delete(ctx, entry.Role); err != nil {
			return err
		}
	}
	if name := entry.ServiceUserName(); name != "" && name != entry.Key() {
		if err := rv.owners.RemoveRevocation(ctx, name); err != nil {
			return err
		}
	}
	return rv.mount.Revocations.Delete(ctx, entry.Key())
}

// LeaveServiceUser accepts the service user of a revocation as an orphan, because Vault no longer tracks it from now
// on. Otherwise the mount would become out of sync.
func (rv *Revoker) LeaveServiceUser(ctx context.Context, entry *model.Revocation) error {
	if !strings.HasPrefix(entry.ServiceUserName(), rv.mount.NamePrefix()) {
		return nil
	}
	return rv.guard.Accept(ctx, entry.Identity)
}

// end deletes the token of a revocation if the engine may delete it. Then it proves that Modal rejects the token. The error says why
// nothing is proven. The caller holds the role's lock and passes its own copy of the revocation, which it stores
// afterwards.
func (rv *Revoker) end(ctx context.Context, entry *model.Revocation) (Outcome, error) {
	cfg, err := rv.mount.LoadConfig(ctx)
	if err != nil {
		return Unknown, err
	}
	entry.RefusedReason = ""
	if !entry.CanDelete() {
		// An unverified token's owner becomes known only now. If an operator forced the revocation, the engine may
		// then delete it.
		if outcome, failed := rv.prove(ctx, cfg, entry); outcome != Accepted || !entry.CanDelete() {
			return outcome, failed
		}
	}
	if entry.IdentityType != modalapi.IdentityServiceUser {
		return rv.endMemberToken(ctx, cfg, entry)
	}
	return rv.endServiceUser(ctx, cfg, entry)
}

// checkReplacementWorks returns an error while Modal rejects the replacement of a token, because the previous token may
// be the only token that works. The replacement may be a token that was stored with verify=false.
func (rv *Revoker) checkReplacementWorks(ctx context.Context, cfg *model.Config, entry *model.Revocation) error {
	if entry.Forced || entry.Leased || entry.NotYetCurrent() {
		return nil
	}
	current, name, err := rv.replacement(ctx, cfg, entry)
	if err != nil || current == nil || current.ID == entry.ID {
		return err
	}
	switch _, err = rv.mount.WhoIs(ctx, cfg, *current); modalapi.KindOf(err) {
	case modalapi.KindRefused:
		return model.UserErrorf("Modal rejects token %s, %s, so the engine keeps this previous token: replace the rejected token first, or revoke this token anyway with: %s",
			current.ID, name, rv.mount.Commands().ForceRevocation(entry.Key()))
	case modalapi.KindUnavailable, modalapi.KindThrottled:
		if model.SameServer(current.ServerURL, entry.ServerURL) { // another server may be out of reach for good
			return fmt.Errorf("the engine could not find out whether Modal accepts token %s, %s, so it keeps this previous token: %w", current.ID, name, err)
		}
	default:
	}
	return nil
}

// replacement returns the token that replaced a revocation's token, and a name for it in messages. It returns nil if
// config has no admin token, or if the role has no token or belongs to another generation.
func (rv *Revoker) replacement(ctx context.Context, cfg *model.Config, entry *model.Revocation) (current *model.Token, name string, err error) {
	if entry.Role == "" {
		return cfg.Admin, "the admin token", nil
	}
	r, cred, err := rv.mount.Current(ctx, entry.Role)
	if err != nil || cred == nil || !entry.IsOfGeneration(r) {
		return nil, "", err
	}
	return &cred.Token, "the current token of role " + entry.Role, nil
}

// markDeletionStarted stores the intent to delete a token before Modal is called. From then on the token may be gone,
// so it can never become current again. markDeletionStarted reports whether the token became current meanwhile; the
// engine then does not delete it. A node that is no longer active cannot write this intent, and so cannot delete a
// token that the active node is creating.
func (rv *Revoker) markDeletionStarted(ctx context.Context, entry *model.Revocation) (current bool, err error) {
	if entry.DeletionStarted {
		return false, nil
	}
	rv.owners.AssignMu.Lock()
	defer rv.owners.AssignMu.Unlock()
	owner, err := rv.owners.UserOf(ctx, entry)
	if err != nil || owner != "" {
		return owner != "", err
	}
	entry.DeletionStarted = true
	stored := *entry
	return false, rv.mount.Revocations.Put(ctx, entry.Key(), &stored)
}

// orRejected checks whether Modal rejects a token that the engine cannot delete, because somebody else may have
// deleted it. It returns cause if that is not proven. If the token may only have expired, its rejection does not show
// that its service user is gone.
func (rv *Revoker) orRejected(ctx context.Context, cfg *model.Config, entry *model.Revocation, cause error) (Outcome, error) {
	if !entry.WasAccepted() || entry.MayOnlyHaveExpired(rv.mount.Now()) || entry.MayBeInUse(rv.mount.Now()) || ctx.Err() != nil {
		return Unknown, cause
	}
	if entry.Reason == model.ReasonUnfinished { // prove uses the candidate's token, and tracked.isUsedElsewhere counts that use
		if inUse, failed := rv.markDeletionStarted(ctx, entry); failed != nil || inUse {
			return Current.orUnknown(failed), failed
		}
	}
	outcome, err := rv.prove(ctx, cfg, entry)
	switch {
	case outcome == Revoked:
		return Revoked, nil
	case !entry.FirstRejectedAt.IsZero() || model.IsStorageError(err):
		return Unknown, err
	}
	return Unknown, cause
}

// Ask finds out whether a revocation's token is revoked, and changes nothing at Modal. Where the last use of the
// token matters, Ask looks up the service user by its name, because a call with the token itself would count as a
// use.
func (rv *Revoker) Ask(ctx context.Context, entry *model.Revocation) (Outcome, error) {
	cfg, err := rv.mount.LoadConfig(ctx)
	if err != nil {
		return Unknown, err
	}
	if entry.MayBeInUse(rv.mount.Now()) || (entry.Reason == model.ReasonUnfinished && !entry.DeletionStarted) {
		return rv.proveByName(ctx, cfg, entry)
	}
	return rv.prove(ctx, cfg, entry)
}
