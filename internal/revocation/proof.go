// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// prove asks Modal with the old token whether the token is revoked. A rejection alone proves little: a proxy may
// reject everything, Modal may have suspended the workspace, and a person may have disabled the token for a while.
// The error says why nothing is proven. prove changes the revocation, which is the caller's copy.
func (rv *Revoker) prove(ctx context.Context, cfg *model.Config, entry *model.Revocation) (Outcome, error) {
	if entry.Secret == "" {
		return rv.proveByName(ctx, cfg, entry)
	}
	who, rejection := rv.mount.WhoIs(ctx, cfg, entry.Token)
	switch {
	case rejection == nil && entry.Reason == model.ReasonUnfinished && who.Name != entry.Identity:
		// The token in the answer to the creation belongs to another service user.
		*entry = *entry.WithoutToken()
		return rv.proveByName(ctx, cfg, entry)
	case rejection == nil:
		entry.FirstRejectedAt = time.Time{}
		if !entry.Verified() {
			entry.Token = rv.mount.Verified(cfg, entry.Token, who) // Modal accepted the token, so from now on a rejection counts
		}
		return Accepted, nil
	case modalapi.KindOf(rejection) != modalapi.KindRefused:
		return Unknown, rejection
	case !entry.WasAccepted():
		return Unknown, model.UserErrorf("Modal rejects token %s, but the engine never saw Modal accept it with the stored secret, so the rejection proves nothing: "+
			"check at Modal whether the token still exists, then forget it with: %s", entry.ID, rv.mount.Commands().ForgetRevocation(entry.Key()))
	case entry.Acknowledged && !modalapi.BareHTTP(rejection):
		return Revoked, nil
	case !entry.Acknowledged && entry.RecordNotFound(rv.mount.Now()):
		return Unknown, entry.TooEarly()
	}
	if err := rv.checkNotListed(ctx, cfg, entry); err != nil {
		return Unknown, err
	}
	return rv.compareWithWitness(ctx, cfg, entry, rejection)
}

// proveByName asks with the admin token whether a service user exists. It is used when the token's secret never
// arrived, or when a call with the token would count as a use. The answer NOT_FOUND, or another ID than the confirmed
// one, needs no witness, because Modal accepted the admin token to give it.
func (rv *Revoker) proveByName(ctx context.Context, cfg *model.Config, entry *model.Revocation) (Outcome, error) {
	if err := rv.mount.CheckReach(cfg, entry.Token); err != nil {
		return Unknown, err
	}
	a, err := rv.mount.Admin(cfg)
	if err != nil {
		return Unknown, err
	}
	defer a.Release()
	user, err := a.FindServiceUser(ctx, entry.Identity)
	switch {
	case err == nil && entry.HasConfirmedID() && user.ID != entry.IdentityID: // a new service user has the name
		return Revoked, nil
	case err == nil:
		return Accepted, nil
	case modalapi.KindOf(err) != modalapi.KindNotFound:
		return Unknown, a.Explain(err)
	// Modal may still carry out a creation that it did not answer, so the first NOT_FOUND proves nothing.
	case (!entry.Acknowledged || (entry.ID == "" && !entry.Forced)) && entry.RecordNotFound(rv.mount.Now()):
		return Unknown, entry.TooEarly()
	}
	return Revoked, nil
}

// compareWithWitness asks Modal with another token right after a rejection. If Modal rejects that token too, Modal
// rejects everything, and nothing is proven. Without a witness, only a second rejection at least SecondRejectionAfter
// later is proof.
func (rv *Revoker) compareWithWitness(ctx context.Context, cfg *model.Config, entry *model.Revocation, rejection error) (Outcome, error) {
	witnesses, err := rv.witnesses(ctx, cfg, entry)
	if err != nil {
		return Unknown, err
	}
	var rejected string
	for _, witness := range witnesses {
		_, err = rv.mount.WhoIs(ctx, cfg, witness)
		switch {
		case err == nil:
			entry.FirstRejectedAt = time.Time{}
			return Revoked, nil
		case modalapi.KindOf(err) != modalapi.KindRefused:
			return Unknown, fmt.Errorf("Modal rejects token %s, but did not answer about token %s, which would show that Modal does not reject everything: %w", entry.ID, witness.ID, err)
		}
		rejected = witness.ID
	}
	switch now := rv.mount.Now(); {
	case rejected != "":
		return Unknown, model.UserErrorf("Modal rejects token %s, but also token %s of the same workspace, so the rejection proves nothing: either Modal or a proxy rejects everything, or both tokens are gone", entry.ID, rejected)
	case modalapi.BareHTTP(rejection):
		return Unknown, model.UserErrorf("token %s was rejected with an HTTP status and not by Modal itself (%s), and the mount has no other token of the workspace to compare with", entry.ID, modalapi.Said(rejection))
	case entry.FirstRejectedAt.IsZero():
		entry.FirstRejectedAt = now
	case !now.Before(entry.FirstRejectedAt.Add(model.SecondRejectionAfter)):
		return Revoked, nil
	}
	return Unknown, model.UserErrorf("Modal rejected token %s at %s, and the mount has no other token of its workspace to compare with: the token counts as revoked if Modal rejects it again after %s",
		entry.ID, entry.FirstRejectedAt.Format(time.RFC3339), entry.FirstRejectedAt.Add(model.SecondRejectionAfter).Format(time.RFC3339))
}

// witnesses returns the tokens that Modal accepts if it does not reject everything. These are the admin token and the
// role's current token, if they belong to the same server and workspace as the revocation's token.
func (rv *Revoker) witnesses(ctx context.Context, cfg *model.Config, entry *model.Revocation) ([]model.Token, error) {
	var others []model.Token
	if cfg.Admin != nil {
		others = append(others, *cfg.Admin)
	}
	_, cred, err := rv.mount.Current(ctx, entry.Role)
	if err != nil {
		return nil, err
	}
	if cred != nil {
		others = append(others, cred.Token)
	}
	var witnesses []model.Token
	for _, other := range others {
		sameWorkspace := other.WorkspaceID == entry.WorkspaceID && model.SameServer(other.ServerURL, entry.ServerURL)
		if other.Verified() && sameWorkspace && other.ID != entry.ID && !other.Expired(rv.mount.Now()) {
			witnesses = append(witnesses, other)
		}
	}
	return witnesses, nil
}

// checkNotListed returns an error while Modal still lists a rejected token or its service user. The rejection may be
// temporary, or a person disabled the token and can enable it again. If no token of this mount can list,
// checkNotListed returns nil.
func (rv *Revoker) checkNotListed(ctx context.Context, cfg *model.Config, entry *model.Revocation) error {
	switch entry.IdentityType {
	case modalapi.IdentityServiceUser:
		return rv.checkServiceUserNotListed(ctx, cfg, entry)
	case modalapi.IdentityUser:
		return rv.checkMemberTokenNotListed(ctx, cfg, entry)
	}
	return nil
}

func (rv *Revoker) checkServiceUserNotListed(ctx context.Context, cfg *model.Config, entry *model.Revocation) error {
	if cfg.CheckReach(entry.Token) != nil {
		return nil
	}
	a, err := rv.mount.Admin(cfg)
	if err != nil {
		return nil // without an admin token there is no list
	}
	defer a.Release()
	user, err := a.FindServiceUser(ctx, entry.Identity)
	switch modalapi.KindOf(modalapi.AsUnavailable(err)) {
	case modalapi.KindUnavailable, modalapi.KindThrottled:
		return a.Explain(err)
	case modalapi.KindNone:
	default:
		return nil
	}
	// A service user may outlive its expired token. If people delete the token, the engine does not wait for that.
	ended := !entry.CanDelete() && (entry.Expired(rv.mount.Now()) || isPast(user.ExpiresAt, rv.mount.Now().Add(-entry.ClockOffset)))
	if err != nil || ended || (entry.IdentityID != "" && user.ID != entry.IdentityID) {
		return err
	}
	return model.UserErrorf("Modal rejects token %s, but its service user %s still exists: the token may have expired, or the rejection may be temporary", entry.ID, entry.Identity)
}

func (rv *Revoker) checkMemberTokenNotListed(ctx context.Context, cfg *model.Config, entry *model.Revocation) error {
	callers, err := rv.listers(ctx, cfg, entry)
	if err != nil {
		return err
	}
	for _, caller := range callers {
		tokens, err := rv.memberTokens(ctx, cfg, caller)
		switch modalapi.KindOf(modalapi.AsUnavailable(err)) {
		case modalapi.KindUnavailable, modalapi.KindThrottled:
			return fmt.Errorf("Modal rejects token %s, but did not say whether the token is deleted or only disabled: %w", entry.ID, err)
		case modalapi.KindNone:
		default:
			continue
		}
		if err != nil {
			return err
		}
		for _, token := range tokens {
			expired := entry.Expired(rv.mount.Now()) || isPast(token.ExpiresAt, rv.mount.Now().Add(-entry.ClockOffset))
			switch {
			case token.ID != entry.ID || (expired && !token.Disabled):
			case token.Disabled:
				entry.RefusedReason = "the token is disabled and not deleted, so a person can enable it again"
				return model.UserErrorf("Modal rejects token %s because it is disabled; a person can enable it again, so it is not revoked", entry.ID)
			default:
				return model.UserErrorf("Modal rejects token %s, but still lists it: the rejection may be temporary", entry.ID)
			}
		}
		return nil
	}
	return nil
}

// listers returns the tokens that can list a member's tokens. The role's current token can if it belongs to the same
// person. The admin token can if it manages the workspace or belongs to the same person.
func (rv *Revoker) listers(ctx context.Context, cfg *model.Config, entry *model.Revocation) ([]model.Token, error) {
	witnesses, err := rv.witnesses(ctx, cfg, entry)
	if err != nil {
		return nil, err
	}
	var listers []model.Token
	for _, witness := range witnesses {
		manages := witness.ID == cfg.AdminID() && cfg.Limitation == ""
		if manages || witness.HasSameOwner(entry.Token) {
			listers = append(listers, witness)
		}
	}
	return listers, nil
}

func (rv *Revoker) memberTokens(ctx context.Context, cfg *model.Config, caller model.Token) ([]modalapi.MemberToken, error) {
	client, release, err := rv.mount.ConnectTo(cfg, caller)
	if err != nil {
		return nil, err
	}
	defer release()
	return client.MemberTokens(ctx, caller.APIToken())
}

// isPast reports whether a time has come. A zero time never comes.
func isPast(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }
