// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// Revocations lists the entries of the revocation queue, and ends or drops one for an operator.
type Revocations struct {
	mount   *state.Mount
	queue   *revocation.Queue
	lookups *Lookups
}

// EndResult is what an operator's word to end a token came to.
type EndResult struct {
	// Revoked reports that the token is revoked.
	Revoked bool
	// Proof is how the engine knows that: see [Revocation.Proof].
	Proof string
	// TokenID is the ID of the revoked token, "" where it never arrived.
	TokenID string
	// Stays is the entry of a token that Modal does not refuse yet, nil where none is left.
	Remaining *model.Revocation
	Warnings  []string
}

// Read returns the revocation of a token's ID, or of a service user's name. Without one the error, for which
// IsNotFound holds, says what the token is instead.
func (rv *Revocations) Read(ctx context.Context, id string) (*model.Revocation, error) {
	entry, err := rv.mount.FindRevocation(ctx, id)
	if err != nil || entry != nil {
		return entry, err
	}
	return nil, rv.notFound(ctx, id)
}

// maxNamedID is how much of an ID that somebody sent a message repeats.
const maxNamedID = 64

// notFound says what a token is that has no revocation. Only what is stored counts: Modal is not asked.
func (rv *Revocations) notFound(ctx context.Context, id string) error {
	cfg, err := rv.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	for _, ask := range []LookupRequest{{TokenID: id}, {ServiceUser: id}} {
		found, token, err := rv.lookups.findStored(ctx, cfg, ask)
		switch {
		case err != nil:
			return err
		case found == nil:
		case found.Kind == LookupAdmin:
			return model.NotFoundf("%s is the admin token, and not in the revocation queue: replace it first, with: %s", token.ID, found.NextStep)
		case found.Kind == LookupCurrent:
			return model.NotFoundf("%s is the current token of role %s, and not in the revocation queue: rotate it first, with: %s", token.ID, found.Role, found.NextStep)
		}
	}
	id = modalapi.Redact(id[:min(len(id), maxNamedID)])
	step := "vault list -detailed " + rv.mount.CommandPrefix() + "orphans shows service users that Vault does not track"
	if strings.HasPrefix(id, "ak-") {
		step = fmt.Sprintf("vault write %slookup token_id=%s asks Modal about it", rv.mount.CommandPrefix(), id)
	}
	return model.NotFoundf("the revocation queue has no token %s; whether Modal accepts that token was not asked: %s", id, step)
}

// End ends the token of a revocation now, or asks Modal about a token that a person deletes. Within its grace period, and
// where the engine would not delete it, that takes force.
func (rv *Revocations) End(ctx context.Context, id string, force bool) (*EndResult, error) {
	stored, err := rv.Read(ctx, id)
	if model.IsNotFound(err) {
		return nil, model.UserErrorf("%s", err)
	}
	if err != nil {
		return nil, err
	}
	wish := revocation.OnRequest
	if force {
		wish = revocation.ByForce
	}
	got, entry, err := rv.queue.Process(ctx, ctx, stored.Key(), wish)
	if err != nil {
		return nil, err
	}
	switch got {
	case revocation.Gone:
		return nil, model.UserErrorf("%s", rv.notFound(ctx, id))
	case revocation.Current:
		return &EndResult{Warnings: []string{fmt.Sprintf("token %s is in use (it is a role's current token, or the admin token), so it left the revocation queue", cmp.Or(stored.ID, id))}}, nil
	case revocation.Revoked:
		return &EndResult{Revoked: true, Proof: entry.Proof(), TokenID: entry.ID}, nil
	case revocation.Accepted, revocation.Unknown, revocation.NotDue, revocation.InUse:
	}
	return &EndResult{Remaining: entry}, nil
}

// Remove removes a revocation whose token is revoked, and any other only with force. It deletes nothing at Modal.
func (rv *Revocations) Remove(ctx context.Context, id string, force bool) (warnings []string, err error) {
	found, err := rv.Read(ctx, id)
	if err != nil {
		return nil, err
	}
	stored, unlock, err := rv.queue.Lock(ctx, ctx, found.Key())
	if err != nil {
		return nil, err
	}
	if stored == nil {
		return nil, rv.notFound(ctx, id)
	}
	defer unlock()
	settled, err := rv.queue.SettledElsewhere(ctx, stored)
	switch {
	case settled == revocation.NotDue:
		return nil, stored.RefuseBorrowed()
	case err != nil || settled != revocation.Unknown:
		return nil, err
	}
	entry := *stored
	if force {
		return rv.removeUnproven(ctx, &entry)
	}
	if err = rv.checkProven(ctx, &entry); err != nil {
		return nil, err
	}
	return nil, rv.queue.Complete(ctx, &entry)
}

// checkProven refuses to forget a revocation whose token is not proven revoked, or whose service user may still be
// there.
func (rv *Revocations) checkProven(ctx context.Context, entry *model.Revocation) error {
	got, err := rv.queue.Ask(ctx, entry)
	forget := fmt.Sprintf("or forget it without proof: vault delete %srevocations/%s force=true; the revocation stays", rv.mount.CommandPrefix(), entry.Key())
	switch {
	case got == revocation.Accepted:
		return model.UserErrorf("Modal still accepts token %s of %s: %s; %s",
			cmp.Or(entry.ID, entry.Key()), entry.Whose(), rv.queue.NextStep(ctx, entry), forget)
	case model.IsStorageError(err):
		return err
	case modalapi.KindOf(err) != modalapi.KindNone:
		return fmt.Errorf("could not prove that token %s of %s is revoked: %w; try again, %s",
			cmp.Or(entry.ID, entry.Key()), entry.Whose(), err, forget)
	case err != nil:
		return model.UserErrorf("could not prove that token %s of %s is revoked (%s): try again, %s",
			cmp.Or(entry.ID, entry.Key()), entry.Whose(), err, forget)
	case entry.CanDelete() && (entry.MayOnlyHaveExpired(rv.mount.Now()) || !entry.Verified() && entry.Secret != ""):
		return model.UserErrorf("Modal rejects token %s of %s, and its service user may still be there: %s; %s",
			cmp.Or(entry.ID, entry.Key()), entry.Whose(), rv.queue.NextStep(ctx, entry), forget)
	}
	return nil
}

func (rv *Revocations) removeUnproven(ctx context.Context, entry *model.Revocation) (warnings []string, err error) {
	if err := rv.queue.LeaveServiceUser(ctx, entry); err != nil {
		return nil, err
	}
	if err := rv.queue.Remove(ctx, entry); err != nil {
		return nil, err
	}
	rv.mount.Log().Warn("token forgotten by an operator", "role", entry.Role, "version", entry.Version, "token_id", entry.ID, "revocation", entry.Key())
	return []string{fmt.Sprintf("token %s was forgotten without proof that it is revoked: %s", cmp.Or(entry.ID, entry.Key()), entry.DeletionInstructions())}, nil
}
