// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// endMember has a member token delete itself, on its own server: caller and target are one, so nothing
// else can be hit, and no admin token is needed.
func (e *Engine) endMember(ctx context.Context, cfg *Config, entry *Revocation) (verdict, error) {
	if err := e.keepLast(ctx, cfg, entry); err != nil {
		return e.orRefused(ctx, cfg, entry, err)
	}
	if inUse, failed := e.begin(ctx, entry); failed != nil || inUse {
		return verdictCurrent, failed
	}
	acknowledged, err := e.deleteMember(ctx, cfg, entry)
	if err != nil {
		if settled(err) {
			entry.Declined = modalapi.Said(err)
		}
		return e.orRefused(ctx, cfg, entry, err)
	}
	entry.Acknowledged = entry.Acknowledged || acknowledged
	entry.Declined = ""
	got, err := e.probe(ctx, cfg, entry)
	if got == verdictRevoked && !entry.Acknowledged && entry.missed(e.Now()) {
		return verdictUnknown, entry.tooEarly()
	}
	return got, err
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

// deleteMember deletes with the first token that may. That Modal does not know the token, or refuses it,
// may be because it is gone: the proof tells.
func (e *Engine) deleteMember(ctx context.Context, cfg *Config, entry *Revocation) (acknowledged bool, err error) {
	others, err := e.mayDelete(ctx, cfg, entry)
	if err != nil {
		return false, err
	}
	own := e.deleteToken(ctx, cfg, entry.Token, entry.ID)
	switch modalapi.KindOf(own) {
	case modalapi.KindRefused, modalapi.KindNotFound:
		return false, nil
	case modalapi.KindForbidden, modalapi.KindInvalid, modalapi.KindConflict, modalapi.KindExists:
	default:
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
	return false, own
}

// mayDelete are the tokens beside its own that may delete a member's token: the role's current one where
// it is the same person's, and on an operator's word the admin token.
func (e *Engine) mayDelete(ctx context.Context, cfg *Config, entry *Revocation) (tokens []Token, err error) {
	_, cred, err := e.current(ctx, entry.Role)
	if err != nil {
		return nil, err
	}
	// Of a token that was never proven nothing says whose it is.
	if cred != nil && cred.Verified() && entry.Verified() && cred.sameOwner(entry.Token) {
		tokens = append(tokens, cred.Token)
	}
	if entry.Forced && cfg.Admin != nil && cfg.Admin.Verified() && cfg.reaches(entry.Token) == nil {
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
