// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// How the engine knows that Modal rejects a token for good.
const (
	// proofDeleted: Modal acknowledged the deletion, and rejects the token.
	proofDeleted = "deleted"
	// proofRejected: Modal rejects the token, and accepts a witness right after.
	proofRejected = "rejected"
	// proofRejectedTwice: there is no witness, and Modal rejected the token twice, at least an hour apart.
	proofRejectedTwice = "rejected twice"
)

// secondRejectionAfter is how much later a second rejection must come where there is no witness.
const secondRejectionAfter = time.Hour

// Proof is how the engine knows that the token of a completed revocation is revoked.
func (r *Revocation) Proof() string {
	switch {
	case r.Acknowledged:
		return proofDeleted
	case !r.FirstRejectedAt.IsZero():
		return proofRejectedTwice
	}
	return proofRejected
}

// proveEnd asks Modal with the old token whether it is revoked. A rejection alone proves little: a proxy may
// reject everything, a workspace may be suspended, and a person may have disabled the token for a while. The
// error says why nothing is proven. proveEnd changes the revocation, which is the caller's copy.
func (e *Engine) proveEnd(ctx context.Context, cfg *Config, entry *Revocation) (verdict, error) {
	if entry.Secret == "" {
		return e.proveByName(ctx, cfg, entry)
	}
	who, rejection := e.whoIs(ctx, cfg, entry.Token)
	switch {
	case rejection == nil && entry.Reason == reasonUnfinished && who.Name != entry.Identity:
		// The answer to the creation was about another service user.
		*entry = *entry.withoutToken()
		return e.proveByName(ctx, cfg, entry)
	case rejection == nil:
		entry.FirstRejectedAt = time.Time{}
		if !entry.Verified() {
			entry.Token = e.verified(cfg, entry.Token, who) // from now on a rejection says something
		}
		return verdictAccepted, nil
	case modalapi.KindOf(rejection) != modalapi.KindRefused:
		return verdictUnknown, rejection
	case !entry.known():
		return verdictUnknown, Refusef("Modal rejects token %s with a secret that it was never seen to accept, which proves nothing: "+
			"look whether the token still exists at Modal, then forget it with: vault delete %srevocations/%s force=true", entry.ID, e.mount(), entry.Key())
	case entry.Acknowledged && !modalapi.BareHTTP(rejection):
		return verdictRevoked, nil
	case !entry.Acknowledged && entry.missed(e.Now()):
		return verdictUnknown, entry.tooEarly()
	}
	if err := e.refuseListed(ctx, cfg, entry); err != nil {
		return verdictUnknown, err
	}
	return e.compareWithWitness(ctx, cfg, entry, rejection)
}

// proveByName asks with the admin token whether a service user exists whose token's secret never arrived. The
// answer NOT_FOUND needs no witness, because Modal accepted the admin token to give it.
func (e *Engine) proveByName(ctx context.Context, cfg *Config, entry *Revocation) (verdict, error) {
	if err := e.reaches(cfg, entry.Token); err != nil {
		return verdictUnknown, err
	}
	a, err := e.admin(cfg)
	if err != nil {
		return verdictUnknown, err
	}
	defer a.release()
	_, err = a.findServiceUser(ctx, entry.Identity)
	switch {
	case err == nil:
		return verdictAccepted, nil
	case modalapi.KindOf(err) != modalapi.KindNotFound:
		return verdictUnknown, a.explain(err)
	// A creation without an answer may still be done, so the first NOT_FOUND proves nothing.
	case (!entry.Acknowledged || (entry.ID == "" && !entry.Forced)) && entry.missed(e.Now()):
		return verdictUnknown, entry.tooEarly()
	}
	return verdictRevoked, nil
}

// compareWithWitness asks Modal with another token right after a rejection. If Modal rejects that token too, it
// rejects everything, and nothing is proven.
func (e *Engine) compareWithWitness(ctx context.Context, cfg *Config, entry *Revocation, rejection error) (verdict, error) {
	witnesses, err := e.witnesses(ctx, cfg, entry)
	if err != nil {
		return verdictUnknown, err
	}
	var rejected string
	for _, witness := range witnesses {
		_, err = e.whoIs(ctx, cfg, witness)
		switch {
		case err == nil:
			entry.FirstRejectedAt = time.Time{}
			return verdictRevoked, nil
		case modalapi.KindOf(err) != modalapi.KindRefused:
			return verdictUnknown, fmt.Errorf("Modal rejects token %s, and gave no answer about token %s, which should show that it does not reject everything: %w", entry.ID, witness.ID, err)
		}
		rejected = witness.ID
	}
	switch now := e.Now(); {
	case rejected != "":
		return verdictUnknown, Refusef("Modal rejects token %s, but also token %s of the same workspace, so the rejection proves nothing: Modal, or a proxy in between, rejects everything, or both tokens are gone", entry.ID, rejected)
	case modalapi.BareHTTP(rejection):
		return verdictUnknown, Refusef("token %s was rejected with an HTTP status and not by Modal itself (%s), and there is no other token of the workspace to compare with", entry.ID, modalapi.Said(rejection))
	case entry.FirstRejectedAt.IsZero() || entry.FirstRejectedAt.After(now):
		entry.FirstRejectedAt = now
	case !now.Before(entry.FirstRejectedAt.Add(secondRejectionAfter)):
		return verdictRevoked, nil
	}
	return verdictUnknown, Refusef("Modal rejected token %s at %s, and there is no other token of its workspace to compare with: the token counts as revoked if Modal rejects it again after %s",
		entry.ID, entry.FirstRejectedAt.Format(time.RFC3339), entry.FirstRejectedAt.Add(secondRejectionAfter).Format(time.RFC3339))
}

// witnesses returns the tokens that Modal accepts if it does not reject everything: the admin token and the role's
// current token, where they belong to the same server and workspace as the revocation's token.
func (e *Engine) witnesses(ctx context.Context, cfg *Config, entry *Revocation) ([]Token, error) {
	var others []Token
	if cfg.Admin != nil {
		others = append(others, *cfg.Admin)
	}
	_, cred, err := e.current(ctx, entry.Role)
	if err != nil {
		return nil, err
	}
	if cred != nil {
		others = append(others, cred.Token)
	}
	var witnesses []Token
	for _, other := range others {
		sameWorkspace := other.WorkspaceID == entry.WorkspaceID && sameServer(other.ServerURL, entry.ServerURL)
		if other.Verified() && sameWorkspace && other.ID != entry.ID && !other.expired(e.Now()) {
			witnesses = append(witnesses, other)
		}
	}
	return witnesses, nil
}

// refuseListed returns an error while Modal still lists a rejected token or its service user: then the rejection
// may be a passing one, or a person disabled the token and can enable it again. Where Modal lists nothing to this
// mount, it returns nil.
func (e *Engine) refuseListed(ctx context.Context, cfg *Config, entry *Revocation) error {
	switch entry.IdentityType {
	case modalapi.IdentityServiceUser:
		return e.refuseListedServiceUser(ctx, cfg, entry)
	case modalapi.IdentityUser:
		return e.refuseListedMemberToken(ctx, cfg, entry)
	}
	return nil
}

func (e *Engine) refuseListedServiceUser(ctx context.Context, cfg *Config, entry *Revocation) error {
	if cfg.reaches(entry.Token) != nil {
		return nil
	}
	a, err := e.admin(cfg)
	if err != nil {
		return nil // without an admin token there is no list
	}
	defer a.release()
	user, err := a.findServiceUser(ctx, entry.Identity)
	switch modalapi.KindOf(modalapi.AsUnavailable(err)) {
	case modalapi.KindUnavailable, modalapi.KindThrottled:
		return a.explain(err)
	case modalapi.KindNone:
	default:
		return nil
	}
	// A service user may stay after its token expired. Where people end the token, the engine does not wait for that.
	ended := !entry.ours() && (entry.expired(e.Now()) || isPast(user.ExpiresAt, e.Now().Add(-entry.ClockOffset)))
	if err != nil || ended || (entry.IdentityID != "" && user.ID != entry.IdentityID) {
		return err
	}
	return Refusef("Modal rejects token %s, and its service user %s is still there: the token may have expired, or the rejection may be a passing one", entry.ID, entry.Identity)
}

func (e *Engine) refuseListedMemberToken(ctx context.Context, cfg *Config, entry *Revocation) error {
	callers, err := e.listers(ctx, cfg, entry)
	if err != nil {
		return err
	}
	for _, caller := range callers {
		tokens, err := e.memberTokens(ctx, cfg, caller)
		switch modalapi.KindOf(modalapi.AsUnavailable(err)) {
		case modalapi.KindUnavailable, modalapi.KindThrottled:
			return fmt.Errorf("Modal rejects token %s, and does not say whether it is deleted or only disabled: %w", entry.ID, err)
		case modalapi.KindNone:
		default:
			continue
		}
		if err != nil {
			return err
		}
		for _, token := range tokens {
			expired := entry.expired(e.Now()) || isPast(token.ExpiresAt, e.Now().Add(-entry.ClockOffset))
			switch {
			case token.ID != entry.ID || (expired && !token.Disabled):
			case token.Disabled:
				entry.Declined = "it is disabled and not deleted, so a person can enable it again"
				return Refusef("Modal rejects token %s because it is disabled: a person can enable it again, so it is not revoked", entry.ID)
			default:
				return Refusef("Modal rejects token %s, and still lists it: the rejection may be a passing one", entry.ID)
			}
		}
		return nil
	}
	return nil
}

// listers returns the tokens that can list a member's tokens: the role's current token if it is the same person's, and
// an admin token that manages the workspace or is the same person's.
func (e *Engine) listers(ctx context.Context, cfg *Config, entry *Revocation) ([]Token, error) {
	witnesses, err := e.witnesses(ctx, cfg, entry)
	if err != nil {
		return nil, err
	}
	var listers []Token
	for _, witness := range witnesses {
		manages := witness.ID == cfg.adminID() && cfg.Limitation == ""
		if manages || witness.sameOwner(entry.Token) {
			listers = append(listers, witness)
		}
	}
	return listers, nil
}

func (e *Engine) memberTokens(ctx context.Context, cfg *Config, caller Token) ([]modalapi.MemberToken, error) {
	client, release, err := e.connectTo(cfg, caller)
	if err != nil {
		return nil, err
	}
	defer release()
	return client.MemberTokens(ctx, caller.pair())
}

// isPast reports whether a time, which may be none, has come.
func isPast(at, now time.Time) bool { return !at.IsZero() && !now.Before(at) }
