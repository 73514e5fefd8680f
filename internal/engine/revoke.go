// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// end makes Modal refuse an entry's token, where the engine may, and proves that it does. Only a
// refusal is proof. The error says why there is none. The caller holds the role's lock and stores what
// becomes of the entry, which is its own copy.
func (e *Engine) end(ctx context.Context, entry *Revocation) (verdict, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return verdictUnknown, err
	}
	if !entry.ours() {
		// Whose an unproven token is shows only here, and then an operator's word may be for the engine.
		if got, failed := e.probe(ctx, cfg, entry); got != verdictAccepted || !entry.ours() {
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
	return e.proof(ctx, cfg, a, entry, acknowledged)
}

// keepLast keeps the last token of a role that works: while Modal refuses the current one, an earlier
// one may be all that its consumers have. A lease's never was the role's.
func (e *Engine) keepLast(ctx context.Context, cfg *Config, entry *Revocation) error {
	if entry.Forced || entry.Leased || entry.unclaimed() {
		return nil
	}
	_, cred, err := e.current(ctx, entry.Role)
	if err != nil || cred == nil || !cred.Verified() {
		return err
	}
	switch _, err = e.whoIs(ctx, cfg, cred.Token); modalapi.KindOf(err) {
	case modalapi.KindRefused:
		return Refusef("Modal refuses token %s, the current one of role %s, so this earlier one is kept: rotate the role first, or end this one all the same with force=true",
			cred.ID, entry.Role)
	case modalapi.KindUnavailable, modalapi.KindThrottled:
		if sameServer(cred.ServerURL, entry.ServerURL) { // another one may be out of reach for good
			return fmt.Errorf("could not learn whether Modal accepts token %s, the current one of role %s, so this earlier one is kept: %w", cred.ID, entry.Role, err)
		}
	default:
	}
	return nil
}

// begin notes, before Modal is asked to delete, that the token may be gone from now on: nothing makes it
// current again. One that came into use meanwhile is left alone. A node that leads no more cannot write it, and
// ends nothing that the one which leads is making.
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

// orRefused is the verdict where the engine cannot delete, unless somebody else did: Modal refuses a
// token that has not expired.
func (e *Engine) orRefused(ctx context.Context, cfg *Config, entry *Revocation, cause error) (verdict, error) {
	if !entry.known() || entry.mayLiveOn(e.Now()) || entry.mayBeHeld(e.Now()) || ctx.Err() != nil {
		return verdictUnknown, cause
	}
	if got, err := e.probe(ctx, cfg, entry); err != nil || got != verdictRevoked || entry.missed(e.Now()) {
		return verdictUnknown, cause
	}
	return verdictRevoked, nil
}

// proof is what Modal says of a service user's token after the deletion: with the pair where the engine
// has it, else by the name.
func (e *Engine) proof(ctx context.Context, cfg *Config, a *admin, entry *Revocation, acknowledged bool) (verdict, error) {
	var err error
	if entry.Secret != "" {
		_, err = e.whoIs(ctx, cfg, entry.Token)
	} else {
		_, err = a.findServiceUser(ctx, entry.Identity)
	}
	entry.Acknowledged = entry.Acknowledged || acknowledged || entry.Unconfirmed // as it did before
	gone := modalapi.KindOf(err) == modalapi.KindRefused
	if entry.Secret == "" { // then a refusal is of the admin token
		gone, err = modalapi.KindOf(err) == modalapi.KindNotFound, a.explain(err)
	}
	switch {
	case gone && (!entry.Acknowledged || (entry.ID == "" && !entry.Forced)) && entry.missed(e.Now()): // an unanswered create may be done again
		return verdictUnknown, entry.tooEarly()
	case gone:
		return verdictRevoked, nil
	case err != nil:
		return verdictUnknown, err
	}
	return verdictAccepted, nil
}

func (r *Revocation) tooEarly() error {
	if r.Reason == reasonApproved {
		return Refusef("Modal refuses token %s, and may not know it yet, as it was just approved: the engine looks again until %s",
			r.ID, r.Missing.Add(unfinishedAfter).Format(time.RFC3339))
	}
	return Refusef("Modal does not know service user %s, and may still be making it: the engine looks again until %s",
		r.Identity, r.Missing.Add(unfinishedAfter).Format(time.RFC3339))
}

// ask learns whether Modal refuses an entry's token, and changes nothing there.
func (e *Engine) ask(ctx context.Context, entry *Revocation) (verdict, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return verdictUnknown, err
	}
	if entry.Secret != "" {
		return e.probe(ctx, cfg, entry)
	}
	if err = e.reaches(cfg, entry.Token); err != nil {
		return verdictUnknown, err
	}
	a, err := e.admin(cfg)
	if err != nil {
		return verdictUnknown, err
	}
	defer a.release()
	return e.proof(ctx, cfg, a, entry, false)
}

// probe asks Modal with the dead pair. A token that is accepted is known from then on, so that its
// refusal says something.
func (e *Engine) probe(ctx context.Context, cfg *Config, entry *Revocation) (verdict, error) {
	answered := e.asks(ctx, entry)
	proven, err := e.prove(ctx, cfg, entry.Token)
	answered()
	switch {
	case modalapi.KindOf(err) == modalapi.KindRefused && !entry.known():
		return verdictUnknown, Refusef("Modal refuses token %s with a secret that it was never seen to accept, which proves nothing: "+
			"see that the token is gone at Modal, then forget it (delete its entry with force=true)", entry.ID)
	case modalapi.KindOf(err) == modalapi.KindRefused:
		return verdictRevoked, nil
	case err != nil:
		return verdictUnknown, err
	}
	if !entry.Verified() {
		entry.Token = proven
	}
	return verdictAccepted, nil
}

// deleteServiceUser deletes by ID. The ID is looked up by the name, which is fresh and random, where
// the answer that told it was lost. What Modal does not know is done, but not acknowledged.
func deleteServiceUser(ctx context.Context, a *admin, entry *Revocation) (acknowledged bool, err error) {
	id := entry.IdentityID
	if id != "" {
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
