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

// Revocations lists the revocation queue, and revokes or forgets a token for an operator.
type Revocations struct {
	mount   *state.Mount
	revoker *revocation.Revoker
	lookups *Lookups
}

// EndResult is the result of an operator's request to revoke a token.
type EndResult struct {
	// Revoked reports that the token is revoked.
	Revoked bool
	// Proof says how the engine knows that: see [model.Revocation.Proof].
	Proof string
	// TokenID is the ID of the revoked token, or "" if the ID never arrived.
	TokenID string
	// Remaining is the revocation of a token that Modal does not reject yet, or nil.
	Remaining *model.Revocation
	Warnings  []string
}

// Read returns the revocation of a token's ID or of a service user's name. Without a revocation, the error tells the
// operator where the token is, and IsNotFound reports true for that error.
func (rv *Revocations) Read(ctx context.Context, id string) (*model.Revocation, error) {
	entry, doubt, err := rv.mount.FindRevocation(ctx, id)
	if err != nil || entry != nil {
		return entry, err
	}
	return nil, rv.notFound(ctx, id, doubt)
}

// maxNamedID limits how much of a supplied ID a message repeats.
const maxNamedID = 64

// notFound returns the error for a token without a revocation. doubt says that some revocations cannot be read, or is
// empty. notFound reads storage and does not ask Modal.
func (rv *Revocations) notFound(ctx context.Context, id, doubt string) error {
	cfg, err := rv.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	ask := LookupRequest{ServiceUser: id}
	if strings.HasPrefix(id, "ak-") {
		ask = LookupRequest{TokenID: id}
	}
	found, token, err := rv.lookups.findStored(ctx, cfg, ask)
	switch {
	case err != nil:
		return err
	case found.Kind == LookupAdmin:
		return model.NotFoundf("%s is the admin token and not in the revocation queue: to revoke it, first replace it with: %s", token.ID, found.NextStep)
	case found.Kind == LookupCurrent:
		return model.NotFoundf("%s is the current token of role %s and not in the revocation queue: to revoke it, first rotate the role with: %s", token.ID, found.Role, found.NextStep)
	}
	id = modalapi.Redact(id[:min(len(id), maxNamedID)])
	step := "list the service users that Vault does not track with: " + rv.mount.Commands().ListOrphans()
	if strings.HasPrefix(id, "ak-") {
		step = "ask Modal with: " + rv.mount.Commands().LookUp(id)
	}
	if doubt != "" {
		return model.NotFoundf("no revocation that can be read is of token %s: %s", id, doubt)
	}
	return model.NotFoundf("the revocation queue has no token %s, and Modal was not asked about it: %s", id, step)
}

// End revokes the token of a revocation now, or asks Modal about a token that a person deletes. Within the grace
// period, and for a token that the engine would not delete by itself, End needs force.
func (rv *Revocations) End(ctx context.Context, id string, force bool) (*EndResult, error) {
	stored, err := rv.Read(ctx, id)
	if model.IsNotFound(err) {
		return nil, model.UserErrorf("%s", err)
	}
	if err != nil {
		return nil, err
	}
	trigger := revocation.OnRequest
	if force {
		trigger = revocation.ByForce
	}
	outcome, entry, err := rv.revoker.Process(ctx, ctx, stored.Key(), trigger)
	if err != nil {
		return nil, err
	}
	switch outcome {
	case revocation.Gone:
		return nil, model.UserErrorf("%s", rv.notFound(ctx, id, ""))
	case revocation.Current:
		return &EndResult{Warnings: []string{fmt.Sprintf("token %s was not revoked, because it is a role's current token or the admin token; it has left the revocation queue", cmp.Or(stored.ID, id))}}, nil
	case revocation.Revoked:
		return &EndResult{Revoked: true, Proof: entry.Proof(), TokenID: entry.ID}, nil
	case revocation.Accepted, revocation.Unknown, revocation.Postponed, revocation.InUse:
	}
	return &EndResult{Remaining: entry}, nil
}

// Remove removes a revocation whose token is proven revoked. With force it removes any revocation. It deletes nothing
// at Modal.
func (rv *Revocations) Remove(ctx context.Context, id string, force bool) (warnings []string, err error) {
	found, err := rv.Read(ctx, id)
	if err != nil {
		return nil, err
	}
	stored, unlock, err := rv.revoker.Lock(ctx, ctx, found.Key())
	if err != nil {
		return nil, err
	}
	if stored == nil {
		return nil, rv.notFound(ctx, id, "")
	}
	defer unlock()
	covered, err := rv.revoker.RemoveIfCovered(ctx, stored)
	switch {
	case covered == revocation.Postponed:
		return nil, stored.UsedElsewhereError()
	case err != nil || covered != revocation.Unknown:
		return nil, err
	}
	entry := *stored
	if force {
		return rv.removeWithoutProof(ctx, &entry)
	}
	if err = rv.checkProven(ctx, &entry); err != nil {
		return nil, err
	}
	return nil, rv.revoker.Complete(ctx, &entry)
}

// checkProven refuses to forget a revocation if its token is not proven revoked, or if its service user may still
// exist.
func (rv *Revocations) checkProven(ctx context.Context, entry *model.Revocation) error {
	outcome, err := rv.revoker.Ask(ctx, entry)
	forget := fmt.Sprintf("or forget it without proof with: %s; the revocation stays", rv.mount.Commands().ForgetRevocation(entry.Key()))
	switch {
	case outcome == revocation.Accepted:
		return model.UserErrorf("Modal still accepts token %s of %s: %s; %s",
			cmp.Or(entry.ID, entry.Key()), entry.Whose(), rv.revoker.NextStep(ctx, entry), forget)
	case model.IsStorageError(err):
		return err
	case modalapi.KindOf(err) != modalapi.KindNone:
		return fmt.Errorf("the engine could not prove that token %s of %s is revoked: %w; try again, %s",
			cmp.Or(entry.ID, entry.Key()), entry.Whose(), err, forget)
	case err != nil:
		return model.UserErrorf("%s", rv.mount.NotePaused(ctx, fmt.Sprintf("the engine could not prove that token %s of %s is revoked (%s): try again, %s",
			cmp.Or(entry.ID, entry.Key()), entry.Whose(), err, forget)))
	case entry.CanDelete() && (entry.MayOnlyHaveExpired(rv.mount.Now()) || !entry.Verified() && entry.Secret != ""):
		return model.UserErrorf("Modal rejects token %s of %s, but its service user may still exist: %s; %s",
			cmp.Or(entry.ID, entry.Key()), entry.Whose(), rv.revoker.NextStep(ctx, entry), forget)
	}
	return nil
}

func (rv *Revocations) removeWithoutProof(ctx context.Context, entry *model.Revocation) (warnings []string, err error) {
	if err := rv.revoker.LeaveServiceUser(ctx, entry); err != nil {
		return nil, err
	}
	if err := rv.revoker.Remove(ctx, entry); err != nil {
		return nil, err
	}
	rv.mount.Log().Warn("an operator removed a revocation without proof", "role", entry.Role, "version", entry.Version, "token_id", entry.ID, "revocation", entry.Key())
	return []string{fmt.Sprintf("token %s was forgotten without proof that it is revoked: %s", cmp.Or(entry.ID, entry.Key()), entry.DeletionInstructions())}, nil
}
