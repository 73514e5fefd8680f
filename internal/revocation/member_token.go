// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// endMemberToken ends a member token on its own server. The token first tries to delete itself. If Modal does not allow
// that, the current token of the same person tries, and with force the admin token.
func (rv *Revoker) endMemberToken(ctx context.Context, cfg *model.Config, entry *model.Revocation) (Outcome, error) {
	if err := rv.checkReplacementWorks(ctx, cfg, entry); err != nil {
		return rv.orRejected(ctx, cfg, entry, err)
	}
	if current, failed := rv.markDeletionStarted(ctx, entry); failed != nil || current {
		return Current.orUnknown(failed), failed
	}
	acknowledged, err := rv.deleteMemberToken(ctx, cfg, entry)
	if err != nil {
		if isFinal(err) {
			entry.RefusedReason = modalapi.Said(err)
		}
		return rv.orRejected(ctx, cfg, entry, err)
	}
	entry.Acknowledged = entry.Acknowledged || acknowledged
	return rv.prove(ctx, cfg, entry)
}

// isFinal reports whether Modal will give the same answer until somebody changes something at Modal.
func isFinal(err error) bool {
	switch modalapi.KindOf(err) {
	case modalapi.KindForbidden, modalapi.KindInvalid, modalapi.KindConflict, modalapi.KindExists, modalapi.KindUnsupported:
		return true
	case modalapi.KindNone, modalapi.KindRefused, modalapi.KindNotFound, modalapi.KindThrottled, modalapi.KindUnavailable:
	}
	return false
}

// deleteMemberToken deletes a member token with the token itself, or with the first other token that may delete it.
// If Modal rejects the token itself, the token may be gone or disabled, so the other tokens try too.
// deleteMemberToken reports whether Modal acknowledged the deletion.
func (rv *Revoker) deleteMemberToken(ctx context.Context, cfg *model.Config, entry *model.Revocation) (acknowledged bool, err error) {
	others, err := rv.tokensThatMayDelete(ctx, cfg, entry)
	if err != nil {
		return false, err
	}
	own := rv.deleteToken(ctx, cfg, entry.Token, entry.ID)
	switch kind := modalapi.KindOf(own); {
	case kind == modalapi.KindNotFound:
		return false, nil
	case kind != modalapi.KindRefused && !isFinal(own), kind == modalapi.KindUnsupported:
		return own == nil, own
	}
	for _, other := range others {
		err := rv.deleteToken(ctx, cfg, other, entry.ID)
		switch {
		case err == nil:
			return true, nil
		case modalapi.KindOf(err) == modalapi.KindNotFound:
			return false, nil
		case !isFinal(err) && modalapi.KindOf(err) != modalapi.KindRefused:
			return false, err
		}
	}
	if modalapi.KindOf(own) == modalapi.KindRefused {
		return false, nil // prove finds out whether the token is revoked
	}
	return false, own
}

// tokensThatMayDelete returns the other tokens that may delete a member token: the role's current token if it belongs
// to the same person, and the admin token if an operator forced the revocation.
func (rv *Revoker) tokensThatMayDelete(ctx context.Context, cfg *model.Config, entry *model.Revocation) (tokens []model.Token, err error) {
	current, _, err := rv.replacement(ctx, cfg, entry)
	if err != nil {
		return nil, err
	}
	// The owner of an unverified token is not known.
	if current != nil && current.Verified() && entry.Verified() && current.HasSameOwner(entry.Token) {
		tokens = append(tokens, *current)
	}
	if entry.Forced && entry.Role != "" && cfg.Admin != nil && cfg.Admin.Verified() && cfg.CheckReach(entry.Token) == nil {
		tokens = append(tokens, *cfg.Admin)
	}
	return tokens, nil
}

func (rv *Revoker) deleteToken(ctx context.Context, cfg *model.Config, caller model.Token, id string) error {
	client, release, err := rv.mount.ConnectTo(cfg, caller)
	if err != nil {
		return err
	}
	defer release()
	if err = client.DeleteToken(ctx, caller.APIToken(), id); err != nil && caller.ID != id {
		return fmt.Errorf("with token %s: %w", caller.ID, err)
	}
	return err
}
