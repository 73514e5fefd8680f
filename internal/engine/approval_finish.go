// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// finish brings the token that a person approved into use, where it is whose it has to be. Else it deletes
// itself at once. It is done again, from its entry in the revocation queue, when it was broken off.
func (e *Engine) finish(ctx context.Context, key string, a *Approval) (ended *Approval, err error) {
	role := approvalRole(key)
	if done, failed := e.inUse(ctx, role, a); failed != nil || done != nil {
		return done, failed
	}
	entry, err := e.revocations.Get(ctx, a.TokenID)
	switch {
	case err != nil:
		return nil, err
	case entry == nil && a.State == ApprovalWaiting:
		return a.ended(ApprovalRefused, fmt.Sprintf("token %s is not in use, and was ended", a.TokenID), e.Now()), nil
	case entry == nil:
		return a.ended("", "", e.Now()), nil
	case entry.Reason != reasonApproved: // this was broken off after the token came into use
		return a.ended(ApprovalDone, fmt.Sprintf("token %s came into use, and another one has replaced it since", a.TokenID), e.Now()), nil
	case a.State != ApprovalWaiting:
		return e.discard(ctx, a, entry)
	}
	a, err = e.useApproved(ctx, key, a, entry)
	if err == nil {
		return e.inUse(ctx, role, a)
	}
	if isSilence(err) || (modalapi.KindOf(err) == modalapi.KindRefused && entry.mayBeNew(e.Now())) {
		return nil, err
	}
	if modalapi.KindOf(err) == modalapi.KindRefused {
		err = Refusef("Modal rejected token %s, which was just approved, when asked whose it is: %s", entry.ID, modalapi.Said(err))
	}
	a = a.closing(ApprovalRefused, err.Error())
	if err = e.approvals.Put(ctx, key, a); err != nil { // before the token ends, so that no answer promises its use
		return nil, err
	}
	return e.discard(ctx, a, entry)
}

// mayBeNew says of an approved token that Modal may refuse it for the seconds that a new one needs.
func (r *Revocation) mayBeNew(now time.Time) bool {
	age := now.Sub(r.Since)
	return age >= 0 && age < mintBudget
}

// inUse is the approval as done where its token is the current one, or the admin's, and nil where not. The
// token has left the revocation queue by then, which would say that it deletes itself.
func (e *Engine) inUse(ctx context.Context, role string, a *Approval) (*Approval, error) {
	version, said := 0, a.Said
	if role == "" {
		cfg, err := e.loadConfig(ctx)
		if err != nil || cfg.adminID() != a.TokenID {
			return nil, err
		}
		if limits := cfg.limits(); len(limits) > 0 {
			said = limits[0]
		}
	} else {
		_, cred, err := e.current(ctx, role)
		if err != nil || cred == nil || cred.ID != a.TokenID {
			return nil, err
		}
		version = cred.Version
	}
	if err := e.removeEntry(ctx, a.TokenID); err != nil {
		return nil, err
	}
	done := a.ended(ApprovalDone, said, e.Now())
	done.Version = version
	return done, nil
}

// useApproved asks Modal whose the token is, notes that with the approval, and makes the token the role's, or
// the admin's.
func (e *Engine) useApproved(ctx context.Context, key string, a *Approval, entry *Revocation) (*Approval, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return a, err
	}
	proven, err := e.prove(ctx, cfg, entry.Token)
	if err != nil {
		return a, err
	}
	proven = proven.createdBetween(a.Began, entry.Since)
	e.tellClock(approvalRole(key), proven)
	named := *a
	named.Account = proven.Account()
	if err = e.refuseOutside(ctx, cfg, proven); err == nil {
		err = newPin(a.PinnedWorkspace).refuse(proven, "the approval's pinned_workspace")
	}
	switch {
	case err != nil:
		return &named, err
	case approvalRole(key) == "":
		return &named, e.useForAdmin(ctx, key, cfg, &named, proven)
	}
	return &named, e.useForRole(ctx, key, &named, proven)
}

func (e *Engine) useForRole(ctx context.Context, key string, a *Approval, proven Token) error {
	role := approvalRole(key)
	now, err := e.rotation(ctx, role)
	switch {
	case err != nil:
		return err
	case now == nil || now.Role.Type != TypeStatic:
		return Refusef("there is no static role %s any more", role)
	case !now.empty() && !a.Force && (!now.Cred.Verified() || !proven.sameOwner(now.Cred.Token)):
		return Refusef("token %s is of %s, but the role's token is of %s: approve as that one, or begin again with force=true to change it", proven.ID, proven.owner(), now.Cred.owner())
	}
	a.PreviousTokenID = now.Cred.ID
	if err = e.approvals.Put(ctx, key, a); err != nil {
		return err
	}
	done, err := e.replace(ctx, now, proven, reasonRotated, RotateRequest{Grace: a.Grace}.graceOr(now.Role.GracePeriod))
	if err != nil {
		return err
	}
	e.announce(ctx, role, done)
	return nil
}

func (e *Engine) useForAdmin(ctx context.Context, key string, cfg *Config, a *Approval, proven Token) error {
	if !cfg.serves(proven) {
		return Refusef("token %s belongs to %s, and config points to %s by now: begin again", proven.ID, proven.ServerURL, cfg.ServerURL)
	}
	limitation, err := e.limitation(ctx, cfg, proven)
	if err != nil {
		return err
	}
	last, err := e.lastWorkspace(ctx, cfg)
	if err != nil {
		return err
	}
	if last.ID == "" && cfg.PinnedWorkspace == "" && a.PinnedWorkspace == "" {
		a.Said = fmt.Sprintf("the mount knew no workspace, so the account could be anybody's: it is %s; if that is right, pin it with: vault write %sconfig pinned_workspace=%s",
			proven.owner(), e.mount(), proven.WorkspaceID)
	}
	a.PreviousTokenID = cfg.adminID()
	if err = e.approvals.Put(ctx, key, a); err != nil {
		return err
	}
	_, err = e.replaceAdmin(ctx, cfg, proven, limitation, a.Grace, a.Force)
	return err
}

// discard ends a token that was approved and cannot be used, and the approval with it.
func (e *Engine) discard(ctx context.Context, a *Approval, entry *Revocation) (*Approval, error) {
	fate, err := e.endApproved(ctx, entry)
	if err != nil {
		return nil, err
	}
	said := fmt.Sprintf("%s; token %s: %s", a.Said, a.TokenID, fate)
	if a.State != ApprovalRefused {
		said = fmt.Sprintf("%s, and token %s was approved all the same: %s", a.Said, a.TokenID, fate)
	}
	return a.ended("", said, e.Now()), nil
}

// endApproved ends an approved token at once, and tells how that went. If Modal does not let the token end now,
// the worker goes on.
func (e *Engine) endApproved(ctx context.Context, entry *Revocation) (fate string, err error) {
	due := entry.dueNow(e.Now())
	if err = e.revocations.Put(ctx, due.Key(), due); err != nil {
		return "", err
	}
	got, _, err := e.attendLocked(ctx, due, onRequest)
	if isStorageError(err) {
		return "", err
	}
	if got == verdictRevoked {
		return "it deleted itself", nil
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return "", err
	}
	return e.WhilePaused(cfg, "it is in the revocation queue and deletes itself"), nil
}
