// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// endMember has a member token delete itself, on its own server. The caller and the target are the same token, so
// nothing else can be deleted, and no admin token is needed.
func (e *Engine) endMember(ctx context.Context, cfg *Config, entry *Revocation) (verdict, error) {
	entry.Declined = ""
	if err := e.keepLast(ctx, cfg, entry); err != nil {
		return e.orRefused(ctx, cfg, entry, err)
	}
	if inUse, failed := e.begin(ctx, entry); failed != nil || inUse {
		return verdictCurrent.orUnknown(failed), failed
	}
	acknowledged, err := e.deleteMember(ctx, cfg, entry)
	if err != nil {
		if settled(err) {
			entry.Declined = modalapi.Said(err)
		}
		return e.orRefused(ctx, cfg, entry, err)
	}
	entry.Acknowledged = entry.Acknowledged || acknowledged
	return e.proveEnd(ctx, cfg, entry)
}

// settled says that Modal's answer will be the same until somebody changes something there.
func settled(err error) bool {
	switch modalapi.KindOf(err) {
	case modalapi.KindForbidden, modalapi.KindInvalid, modalapi.KindConflict, modalapi.KindExists, modalapi.KindUnsupported:
		return true
	case modalapi.KindNone, modalapi.KindRefused, modalapi.KindNotFound, modalapi.KindThrottled, modalapi.KindUnavailable:
	}
	return false
}

// deleteMember deletes a member token with the first token that may, the token itself first. If Modal rejects the token
// itself, the token may be gone or disabled, so the others try too. It reports whether Modal acknowledged the
// deletion.
func (e *Engine) deleteMember(ctx context.Context, cfg *Config, entry *Revocation) (acknowledged bool, err error) {
	others, err := e.mayDelete(ctx, cfg, entry)
	if err != nil {
		return false, err
	}
	own := e.deleteToken(ctx, cfg, entry.Token, entry.ID)
	switch kind := modalapi.KindOf(own); {
	case kind == modalapi.KindNotFound:
		return false, nil
	case kind != modalapi.KindRefused && !settled(own), kind == modalapi.KindUnsupported:
		return own == nil, own
	}
	for _, other := range others {
		err := e.deleteToken(ctx, cfg, other, entry.ID)
		switch {
		case err == nil:
			return true, nil
		case modalapi.KindOf(err) == modalapi.KindNotFound:
			return false, nil
		case !settled(err) && modalapi.KindOf(err) != modalapi.KindRefused:
			return false, err
		}
	}
	if modalapi.KindOf(own) == modalapi.KindRefused {
		return false, nil // the proof tells
	}
	return false, own
}

// mayDelete returns the tokens beside its own that may delete a member's token: the role's current token if it is the
// same person's, and on an operator's word the admin token.
func (e *Engine) mayDelete(ctx context.Context, cfg *Config, entry *Revocation) (tokens []Token, err error) {
	current, _, err := e.replacement(ctx, cfg, entry)
	if err != nil {
		return nil, err
	}
	// An unverified token's owner is not known.
	if current != nil && current.Verified() && entry.Verified() && current.sameOwner(entry.Token) {
		tokens = append(tokens, *current)
	}
	if entry.Forced && entry.Role != "" && cfg.Admin != nil && cfg.Admin.Verified() && cfg.reaches(entry.Token) == nil {
		tokens = append(tokens, *cfg.Admin)
	}
	return tokens, nil
}

func (e *Engine) deleteToken(ctx context.Context, cfg *Config, caller Token, id string) error {
	client, release, err := e.connectTo(cfg, caller)
	if err != nil {
		return err
	}
	defer release()
	if err = client.DeleteToken(ctx, caller.pair(), id); err != nil && caller.ID != id {
		return fmt.Errorf("with token %s: %w", caller.ID, err)
	}
	return err
}
