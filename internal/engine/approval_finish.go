// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// finish brings the token that a person approved into use, where it is whose it has to be. Else it deletes
// itself at once. It is done again, from its entry in the ledger, when it was broken off.
func (e *Engine) finish(ctx context.Context, key string, a *Approval) (ended *Approval, err error) {
	role := approvalRole(key)
	if done, failed := e.inUse(ctx, role, a); failed != nil || done != nil {
		return done, failed
	}
	entry, err := e.revocations.Get(ctx, a.TokenID)
	switch {
	case err != nil:
		return nil, err
	case entry == nil:
		return a.ended(ApprovalRefused, fmt.Sprintf("token %s is not in use, and was ended", a.TokenID)), nil
	case entry.Reason != reasonApproved: // this was broken off after the token came into use
		return a.ended(ApprovalDone, fmt.Sprintf("token %s came into use, and another one has replaced it since", a.TokenID)), nil
	case a.State != ApprovalWaiting:
		return e.discard(ctx, a, entry, fmt.Sprintf("%s, and token %s was approved just before that", a.Said, a.TokenID))
	}
	if err = e.useApproved(ctx, role, a, entry); err == nil {
		return e.inUse(ctx, role, a)
	}
	if isStorageError(err) || passes(err) || (modalapi.KindOf(err) == modalapi.KindRefused && entry.mayBeNew(e.Now())) {
		return nil, err
	}
	if modalapi.KindOf(err) == modalapi.KindRefused {
		err = Refusef("Modal refused token %s, which was just approved, when asked whose it is: %s", entry.ID, modalapi.Said(err))
	}
	a = a.closing(ApprovalRefused, "")
	return e.discard(ctx, a, entry, err.Error())
}

// mayBeNew says of an approved token that Modal may refuse it for the seconds that a new one needs.
func (r *Revocation) mayBeNew(now time.Time) bool {
	age := now.Sub(r.Since)
	return age >= 0 && age < mintBudget
}

// inUse is the approval as done where its token is the current one, or the admin's, and nil where not.
func (e *Engine) inUse(ctx context.Context, role string, a *Approval) (*Approval, error) {
	if role == "" {
		cfg, err := e.loadConfig(ctx)
		if err != nil || cfg.adminID() != a.TokenID {
			return nil, err
		}
		return a.ended(ApprovalDone, cfg.limitation()), nil
	}
	_, cred, err := e.current(ctx, role)
	if err != nil || cred == nil || cred.ID != a.TokenID {
		return nil, err
	}
	done := a.ended(ApprovalDone, "")
	done.Version = cred.Version
	return done, nil
}

// limitation says what does not work with the admin token, "" for all works.
func (c *Config) limitation() string {
	if limits := c.limits(); len(limits) > 0 {
		return limits[0]
	}
	return ""
}

// useApproved proves the token and makes it the role's, or the admin's.
func (e *Engine) useApproved(ctx context.Context, role string, a *Approval, entry *Revocation) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	proven, err := e.prove(ctx, cfg, entry.Token)
	if err != nil {
		return err
	}
	proven = proven.createdBetween(a.Began, entry.Since)
	e.tellClock(role, proven)
	if role == "" {
		return e.useForAdmin(ctx, cfg, a, proven)
	}
	return e.useForRole(ctx, role, a, proven)
}

func (e *Engine) useForRole(ctx context.Context, role string, a *Approval, proven Token) error {
	now, err := e.rotation(ctx, role)
	switch {
	case err != nil:
		return err
	case now == nil || now.Role.Type != TypeStatic:
		return Refusef("there is no static role %s any more", role)
	case !now.empty() && !a.Force && (!now.Cred.Verified() || !proven.sameOwner(now.Cred.Token)):
		return Refusef("token %s is of %s, but the role's token is of %s: approve as that one, or begin again with force=true to change it", proven.ID, proven.owner(), now.Cred.owner())
	}
	done, err := e.replace(ctx, now, proven, reasonRotated, RotateRequest{Grace: a.Grace}.graceOr(now.Role.GracePeriod))
	if err != nil {
		return err
	}
	e.announce(ctx, role, done)
	return nil
}

func (e *Engine) useForAdmin(ctx context.Context, cfg *Config, a *Approval, proven Token) error {
	if !cfg.serves(proven) {
		return Refusef("token %s belongs to %s, and config points to %s by now: begin again", proven.ID, proven.ServerURL, cfg.ServerURL)
	}
	limitation, err := e.limitation(ctx, cfg, proven)
	if err != nil {
		return err
	}
	_, err = e.replaceAdmin(ctx, cfg, proven, limitation, a.Grace, a.Force)
	return err
}

// discard ends a token that was approved and cannot be used, at once. What cannot be ended now the worker
// goes on with.
func (e *Engine) discard(ctx context.Context, a *Approval, entry *Revocation, why string) (*Approval, error) {
	due := entry.dueNow(e.Now())
	if err := e.revocations.Put(ctx, due.Key(), due); err != nil {
		return nil, err
	}
	fate := "it is in the ledger and deletes itself"
	got, _, err := e.attendLocked(ctx, due, onRequest)
	if isStorageError(err) {
		return nil, err
	}
	if got == verdictRevoked {
		fate = "it deleted itself"
	}
	return a.ended("", fmt.Sprintf("%s; %s", why, fate)), nil
}
