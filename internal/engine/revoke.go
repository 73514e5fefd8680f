// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// end makes Modal reject a revocation's token, where the engine may, and proves it. The error says why nothing is
// proven. The caller holds the role's lock and stores the revocation, which is its own copy.
func (e *Engine) end(ctx context.Context, entry *Revocation) (verdict, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return verdictUnknown, err
	}
	if !entry.ours() {
		// An unverified token's owner becomes known only now. If an operator forced the revocation, the engine may
		// then delete it.
		if got, failed := e.proveEnd(ctx, cfg, entry); got != verdictAccepted || !entry.ours() {
			return got, failed
		}
	}
	if entry.IdentityType != modalapi.IdentityServiceUser {
		return e.endMember(ctx, cfg, entry)
	}
	return e.endServiceUser(ctx, cfg, entry)
}

// endServiceUser deletes the service user that owns the token, with the admin token.
func (e *Engine) endServiceUser(ctx context.Context, cfg *Config, entry *Revocation) (verdict, error) {
	if err := e.reaches(cfg, entry.Token); err != nil {
		return e.orRefused(ctx, cfg, entry, err)
	}
	a, err := e.admin(cfg)
	if err != nil {
		return e.orRefused(ctx, cfg, entry, err)
	}
	defer a.release()
	if used, failed := e.stillUsed(ctx, a, entry); failed != nil || used {
		return verdictHeld.orUnknown(failed), failed
	}
	if err = e.keepLast(ctx, cfg, entry); err != nil {
		return e.orRefused(ctx, cfg, entry, err)
	}
	if inUse, failed := e.begin(ctx, entry); failed != nil || inUse {
		return verdictCurrent, failed
	}
	acknowledged, err := deleteServiceUser(ctx, a, entry)
	if err != nil {
		return e.orRefused(ctx, cfg, entry, err)
	}
	entry.Acknowledged = entry.Acknowledged || acknowledged
	return e.proveEnd(ctx, cfg, entry)
}

// keepLast returns an error while Modal rejects the token that replaced this one: the previous token may be the last
// that works. The current token may be one that was stored with verify=false.
func (e *Engine) keepLast(ctx context.Context, cfg *Config, entry *Revocation) error {
	if entry.Forced || entry.Leased || entry.unclaimed() {
		return nil
	}
	current, name, err := e.replacement(ctx, cfg, entry)
	if err != nil || current == nil || current.ID == entry.ID {
		return err
	}
	switch _, err = e.whoIs(ctx, cfg, *current); modalapi.KindOf(err) {
	case modalapi.KindRefused:
		return Refusef("Modal rejects token %s, %s, so this earlier token is kept: replace that token first, or end this one all the same with: vault write %srevocations/%s force=true",
			current.ID, name, e.mount(), entry.Key())
	case modalapi.KindUnavailable, modalapi.KindThrottled:
		if sameServer(current.ServerURL, entry.ServerURL) { // another server may be out of reach for good
			return fmt.Errorf("could not learn whether Modal accepts token %s, %s, so this earlier token is kept: %w", current.ID, name, err)
		}
	default:
	}
	return nil
}

// replacement returns the token that is current in place of a revocation's token, and what it is in words: nil
// where the role, of the same generation, or config has none.
func (e *Engine) replacement(ctx context.Context, cfg *Config, entry *Revocation) (current *Token, name string, err error) {
	if entry.Role == "" {
		return cfg.Admin, "the admin token", nil
	}
	r, cred, err := e.current(ctx, entry.Role)
	if err != nil || cred == nil || !entry.isOfGeneration(r) {
		return nil, "", err
	}
	return &cred.Token, "the current one of role " + entry.Role, nil
}

// begin stores, before Modal is asked to delete a token, that the token may be gone from now on: it never becomes
// current again. It reports whether the token came into use meanwhile; then the token is left alone. A node that
// leads no more cannot write, and so deletes no token that the leading node is making.
func (e *Engine) begin(ctx context.Context, entry *Revocation) (inUse bool, err error) {
	if entry.Begun {
		return false, nil
	}
	e.handover.Lock()
	defer e.handover.Unlock()
	holder, err := e.heldBy(ctx, entry)
	if err != nil || holder != "" {
		return holder != "", err
	}
	entry.Begun = true
	stored := *entry
	return false, e.revocations.Put(ctx, entry.Key(), &stored)
}

// orRefused is the verdict where the engine cannot delete a token, for the reason cause: somebody else may have
// deleted it. The rejection of a token that has expired does not show that its service user is gone.
func (e *Engine) orRefused(ctx context.Context, cfg *Config, entry *Revocation, cause error) (verdict, error) {
	if !entry.known() || entry.mayLiveOn(e.Now()) || entry.mayBeHeld(e.Now()) || ctx.Err() != nil {
		return verdictUnknown, cause
	}
	if entry.Reason == reasonUnfinished { // the question below counts as a use of the candidate: see mayBeUsedElsewhere
		if inUse, failed := e.begin(ctx, entry); failed != nil || inUse {
			return verdictCurrent.orUnknown(failed), failed
		}
	}
	got, err := e.proveEnd(ctx, cfg, entry)
	switch {
	case got == verdictRevoked:
		return verdictRevoked, nil
	case !entry.FirstRejectedAt.IsZero() || isStorageError(err):
		return verdictUnknown, err
	}
	return verdictUnknown, cause
}

func (r *Revocation) tooEarly() error {
	if r.Reason == reasonApproved {
		return Refusef("Modal rejects token %s, which was just approved and may not be known everywhere yet: the engine asks again until %s",
			r.ID, r.Missing.Add(unfinishedAfter).Format(time.RFC3339))
	}
	return Refusef("Modal has no service user %s, and may still be creating it: the engine asks again until %s",
		r.Identity, r.Missing.Add(unfinishedAfter).Format(time.RFC3339))
}

// ask learns whether a revocation's token is revoked, and changes nothing at Modal. Where the last use of the token
// matters, the service user's name is asked about: a question with the token itself would count as a use.
func (e *Engine) ask(ctx context.Context, entry *Revocation) (verdict, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return verdictUnknown, err
	}
	if entry.mayBeHeld(e.Now()) || (entry.Reason == reasonUnfinished && !entry.Begun) {
		return e.proveByName(ctx, cfg, entry)
	}
	return e.proveEnd(ctx, cfg, entry)
}

// deleteServiceUser deletes the service user that owns a token, by its ID. An ID that Modal has not confirmed to belong
// to the service user's name is not used: the name, which is new and random, is looked up instead. It reports
// whether Modal acknowledged the deletion; NOT_FOUND is no acknowledgement.
func deleteServiceUser(ctx context.Context, a *admin, entry *Revocation) (acknowledged bool, err error) {
	var id string
	if entry.hasConfirmedID() {
		id = entry.IdentityID
		err = a.DeleteServiceUser(ctx, a.token, id)
	}
	if id == "" || (entry.ID == "" && modalapi.KindOf(err) == modalapi.KindNotFound) { // a create that was not answered may be done twice
		user, unknown := a.findServiceUser(ctx, entry.Identity)
		if modalapi.KindOf(unknown) == modalapi.KindNotFound {
			return false, nil
		}
		if unknown != nil {
			return false, fmt.Errorf("look up service user %s: %w", entry.Identity, a.explain(unknown))
		}
		id = user.ID
		err = a.DeleteServiceUser(ctx, a.token, id)
	}
	switch modalapi.KindOf(err) {
	case modalapi.KindNotFound:
		return false, nil
	case modalapi.KindNone:
		return err == nil, err
	default:
		return false, fmt.Errorf("delete service user %s (%s): %w", entry.Identity, id, a.explain(err))
	}
}

// findServiceUser looks a service user up by its name: in the list of all where Modal does not tell of
// one.
func (a *admin) findServiceUser(ctx context.Context, name string) (modalapi.ServiceUser, error) {
	user, err := a.ServiceUser(ctx, a.token, name)
	if modalapi.KindOf(err) != modalapi.KindUnsupported {
		return user, err
	}
	users, err := a.ServiceUsers(ctx, a.token)
	if err != nil {
		return modalapi.ServiceUser{}, err
	}
	for _, user := range users {
		if user.Name == name {
			return user, nil
		}
	}
	return modalapi.ServiceUser{}, &modalapi.Error{Kind: modalapi.KindNotFound, RPC: "ServiceUserList", Message: "no service user has this name"}
}
