// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// endMemberToken has a member token delete itself, on its own server. The caller and the target are the same token, so
// nothing else can be deleted, and no admin token is needed.
func (q *Queue) endMemberToken(ctx context.Context, cfg *model.Config, entry *model.Revocation) (Outcome, error) {
	entry.RefusedReason = ""
	if err := q.checkReplacementWorks(ctx, cfg, entry); err != nil {
		return q.orRejected(ctx, cfg, entry, err)
	}
	if inUse, failed := q.markDeletionStarted(ctx, entry); failed != nil || inUse {
		return Current.orUnknown(failed), failed
	}
	acknowledged, err := q.deleteMemberToken(ctx, cfg, entry)
	if err != nil {
		if isFinal(err) {
			entry.RefusedReason = modalapi.Said(err)
		}
		return q.orRejected(ctx, cfg, entry, err)
	}
	entry.Acknowledged = entry.Acknowledged || acknowledged
	return q.prove(ctx, cfg, entry)
}

// isFinal says that Modal's answer will be the same until somebody changes something there.
func isFinal(err error) bool {
	switch modalapi.KindOf(err) {
	case modalapi.KindForbidden, modalapi.KindInvalid, modalapi.KindConflict, modalapi.KindExists, modalapi.KindUnsupported:
		return true
	case modalapi.KindNone, modalapi.KindRefused, modalapi.KindNotFound, modalapi.KindThrottled, modalapi.KindUnavailable:
	}
	return false
}

// deleteMemberToken deletes a member token with the first token that may, the token itself first. If Modal rejects the token
// itself, the token may be gone or disabled, so the others try too. It reports whether Modal acknowledged the
// deletion.
func (q *Queue) deleteMemberToken(ctx context.Context, cfg *model.Config, entry *model.Revocation) (acknowledged bool, err error) {
	others, err := q.tokensThatMayDelete(ctx, cfg, entry)
	if err != nil {
		return false, err
	}
	own := q.deleteToken(ctx, cfg, entry.Token, entry.ID)
	switch kind := modalapi.KindOf(own); {
	case kind == modalapi.KindNotFound:
		return false, nil
	case kind != modalapi.KindRefused && !isFinal(own), kind == modalapi.KindUnsupported:
		return own == nil, own
	}
	for _, other := range others {
		err := q.deleteToken(ctx, cfg, other, entry.ID)
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
		return false, nil // the proof tells
	}
	return false, own
}

// tokensThatMayDelete returns the tokens beside its own that may delete a member's token: the role's current token if it is the
// same person's, and on an operator's word the admin token.
func (q *Queue) tokensThatMayDelete(ctx context.Context, cfg *model.Config, entry *model.Revocation) (tokens []model.Token, err error) {
	current, _, err := q.replacement(ctx, cfg, entry)
	if err != nil {
		return nil, err
	}
	// An unverified token's owner is not known.
	if current != nil && current.Verified() && entry.Verified() && current.HasSameOwner(entry.Token) {
		tokens = append(tokens, *current)
	}
	if entry.Forced && entry.Role != "" && cfg.Admin != nil && cfg.Admin.Verified() && cfg.CheckReach(entry.Token) == nil {
		tokens = append(tokens, *cfg.Admin)
	}
	return tokens, nil
}

func (q *Queue) deleteToken(ctx context.Context, cfg *model.Config, caller model.Token, id string) error {
	client, release, err := q.mount.ConnectTo(cfg, caller)
	if err != nil {
		return err
	}
	defer release()
	if err = client.DeleteToken(ctx, caller.APIToken(), id); err != nil && caller.ID != id {
		return fmt.Errorf("with token %s: %w", caller.ID, err)
	}
	return err
}
