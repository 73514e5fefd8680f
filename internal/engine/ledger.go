// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Ended is what an operator's word to end a token came to.
type Ended struct {
	// Revoked reports that the token is revoked.
	Revoked bool
	// Proof is how the engine knows that: see [Revocation.Proof].
	Proof string
	// TokenID is the ID of the revoked token, "" where it never arrived.
	TokenID string
	// Stays is the entry of a token that Modal does not refuse yet, nil where none is left.
	Stays    *Revocation
	Warnings []string
}

// Revocation returns the revocation of a token's ID, or of a service user's name. Without one the error, for which
// IsNotFound holds, says what the token is instead.
func (e *Engine) Revocation(ctx context.Context, id string) (*Revocation, error) {
	entry, err := e.findRevocation(ctx, id)
	if err != nil || entry != nil {
		return entry, err
	}
	return nil, e.noRevocation(ctx, id)
}

// maxNamedID is how much of an ID that somebody sent a message repeats.
const maxNamedID = 64

// noRevocation says what a token is that has no revocation. Only what is stored counts: Modal is not asked.
func (e *Engine) noRevocation(ctx context.Context, id string) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	for _, ask := range []LookupRequest{{TokenID: id}, {ServiceUser: id}} {
		found, token, err := e.lookupStored(ctx, cfg, ask)
		switch {
		case err != nil:
			return err
		case found == nil:
		case found.Kind == LookupAdmin:
			return notFoundf("%s is the admin token, and not in the revocation queue: replace it first, with: %s", token.ID, found.NextStep)
		case found.Kind == LookupCurrent:
			return notFoundf("%s is the current token of role %s, and not in the revocation queue: rotate it first, with: %s", token.ID, found.Role, found.NextStep)
		}
	}
	id = modalapi.Redact(id[:min(len(id), maxNamedID)])
	step := "vault list -detailed " + e.mount() + "orphans shows service users that Vault does not track"
	if strings.HasPrefix(id, "ak-") {
		step = fmt.Sprintf("vault write %slookup token_id=%s asks Modal about it", e.mount(), id)
	}
	return notFoundf("the revocation queue has no token %s; whether Modal accepts that token was not asked: %s", id, step)
}

// End ends the token of a revocation now, or asks Modal about a token that a person deletes. Within its grace period, and
// where the engine would not delete it, that takes force.
func (e *Engine) End(ctx context.Context, id string, force bool) (*Ended, error) {
	stored, err := e.Revocation(ctx, id)
	if IsNotFound(err) {
		return nil, Refusef("%s", err)
	}
	if err != nil {
		return nil, err
	}
	wish := onRequest
	if force {
		wish = byForce
	}
	got, entry, err := e.attend(ctx, ctx, stored.Key(), wish)
	if err != nil {
		return nil, err
	}
	switch got {
	case verdictGone:
		return nil, Refusef("%s", e.noRevocation(ctx, id))
	case verdictCurrent:
		return &Ended{Warnings: []string{fmt.Sprintf("token %s is in use (it is a role's current token, or the admin token), so it left the revocation queue", cmp.Or(stored.ID, id))}}, nil
	case verdictRevoked:
		return &Ended{Revoked: true, Proof: entry.Proof(), TokenID: entry.ID}, nil
	case verdictAccepted, verdictUnknown, verdictNotDue, verdictHeld:
	}
	return &Ended{Stays: entry}, nil
}

// Forget removes a revocation whose token is revoked, and any other only with force. It deletes nothing at Modal.
func (e *Engine) Forget(ctx context.Context, id string, force bool) (warnings []string, err error) {
	found, err := e.Revocation(ctx, id)
	if err != nil {
		return nil, err
	}
	stored, unlock, err := e.lockEntry(ctx, ctx, found.Key())
	if err != nil {
		return nil, err
	}
	if stored == nil {
		return nil, e.noRevocation(ctx, id)
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
	if err = e.refuseUnproven(ctx, &entry); err != nil {
		return nil, err
	}
	return nil, e.conclude(ctx, &entry)
}

// refuseUnproven refuses to forget a revocation whose token is not proven revoked, or whose service user may still be
// there.
func (e *Engine) refuseUnproven(ctx context.Context, entry *Revocation) error {
	got, err := e.ask(ctx, entry)
	forget := fmt.Sprintf("or forget it without proof: vault delete %srevocations/%s force=true; the revocation stays", e.mount(), entry.Key())
	switch {
	case got == verdictAccepted:
		return Refusef("Modal still accepts token %s of %s: %s; %s",
			cmp.Or(entry.ID, entry.Key()), entry.whose(), e.NextStep(ctx, entry), forget)
	case isStorageError(err):
		return err
	case modalapi.KindOf(err) != modalapi.KindNone:
		return fmt.Errorf("could not prove that token %s of %s is revoked: %w; try again, %s",
			cmp.Or(entry.ID, entry.Key()), entry.whose(), err, forget)
	case err != nil:
		return Refusef("could not prove that token %s of %s is revoked (%s): try again, %s",
			cmp.Or(entry.ID, entry.Key()), entry.whose(), err, forget)
	case entry.ours() && (entry.mayLiveOn(e.Now()) || !entry.Verified() && entry.Secret != ""):
		return Refusef("Modal rejects token %s of %s, and its service user may still be there: %s; %s",
			cmp.Or(entry.ID, entry.Key()), entry.whose(), e.NextStep(ctx, entry), forget)
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
	e.log().Warn("token forgotten by an operator", "role", entry.Role, "version", entry.Version, "token_id", entry.ID, "revocation", entry.Key())
	return []string{fmt.Sprintf("token %s was forgotten without proof that it is revoked: %s", cmp.Or(entry.ID, entry.Key()), entry.howToDelete())}, nil
}
