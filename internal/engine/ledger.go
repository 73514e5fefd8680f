// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Ended is what an operator's word to end a token came to.
type Ended struct {
	// Revoked says that Modal refuses the token.
	Revoked bool
	// Proof is what that says: see [Revocation.Proof].
	Proof string
	// Stays is the entry of a token that Modal does not refuse yet, nil where none is left.
	Stays    *Revocation
	Warnings []string
}

// Revocation is an entry of the ledger, nil for none.
func (e *Engine) Revocation(ctx context.Context, id string) (*Revocation, error) {
	return e.revocations.Get(ctx, id)
}

// End ends the token of an entry now, or asks Modal about one that people end. Within its grace period,
// and where the engine would not end it, that takes force.
func (e *Engine) End(ctx context.Context, id string, force bool) (*Ended, error) {
	wish := onRequest
	if force {
		wish = byForce
	}
	got, entry, err := e.attend(ctx, ctx, id, wish)
	if err != nil {
		return nil, err
	}
	switch got {
	case verdictGone:
		return nil, Refusef("no token %s is in the ledger: it was refused by Modal, forgotten, or never there; what is there: vault list %srevocations", id, e.mount())
	case verdictCurrent:
		return &Ended{Warnings: []string{fmt.Sprintf("token %s is in use (it is a role's current token, or the admin token), so it left the ledger", id)}}, nil
	case verdictRevoked:
		return &Ended{Revoked: true, Proof: entry.Proof()}, nil
	case verdictAccepted, verdictUnknown, verdictNotDue, verdictHeld:
	}
	return &Ended{Stays: entry}, nil
}

// Forget drops an entry that Modal refuses, and any other only with force. It ends nothing at Modal.
func (e *Engine) Forget(ctx context.Context, id string, force bool) (warnings []string, err error) {
	stored, unlock, err := e.lockEntry(ctx, ctx, id)
	if err != nil || stored == nil {
		return nil, err
	}
	defer unlock()
	settled, err := e.settledElsewhere(ctx, stored)
	switch {
	case settled == verdictNotDue:
		return nil, stored.refuseTaken()
	case err != nil || settled != verdictUnknown:
		return nil, err
	}
	entry := *stored
	if force {
		return e.forget(ctx, &entry)
	}
	if err = e.refuseAlive(ctx, &entry); err != nil {
		return nil, err
	}
	return nil, e.conclude(ctx, &entry)
}

// refuseAlive keeps an entry whose token Modal accepts, or whose service user may still be there.
func (e *Engine) refuseAlive(ctx context.Context, entry *Revocation) error {
	got, err := e.ask(ctx, entry)
	forget := fmt.Sprintf("or forget it all the same: vault delete %srevocations/%s force=true; the entry stays", e.mount(), entry.Key())
	switch {
	case got == verdictAccepted:
		return Refusef("Modal still accepts token %s of %s: %s; %s",
			entry.Key(), entry.whose(), e.NextStep(entry), forget)
	case isStorageError(err):
		return err
	case modalapi.KindOf(err) != modalapi.KindNone:
		return fmt.Errorf("could not learn whether Modal still accepts token %s of %s: %w; try again, %s",
			entry.Key(), entry.whose(), err, forget)
	case err != nil:
		return Refusef("could not learn whether Modal still accepts token %s of %s (%s): try again, %s",
			entry.Key(), entry.whose(), err, forget)
	case entry.ours() && (entry.mayLiveOn(e.Now()) || !entry.Verified() && entry.Secret != ""):
		return Refusef("Modal refuses token %s of %s, and its service user may still be there: %s; %s",
			entry.Key(), entry.whose(), e.NextStep(entry), forget)
	}
	return nil
}

func (e *Engine) forget(ctx context.Context, entry *Revocation) (warnings []string, err error) {
	if err := e.leaveUser(ctx, entry); err != nil {
		return nil, err
	}
	if err := e.drop(ctx, entry); err != nil {
		return nil, err
	}
	e.log().Warn("token forgotten by an operator", "role", entry.Role, "version", entry.Version, "token_id", entry.Key())
	return []string{fmt.Sprintf("token %s was forgotten without proof that Modal refuses it: %s", entry.Key(), entry.howToDelete())}, nil
}
