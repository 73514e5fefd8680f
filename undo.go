// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"time"
)

// previous is the newest token of a role that is still in its grace period and that nobody has begun to
// end.
func (b *backend) previous(ctx context.Context, now *rotation) (*revocation, error) {
	entries, err := b.previousTokens(ctx, now.name)
	if err != nil {
		return nil, err
	}
	var newest *revocation
	for _, entry := range entries {
		usable := entry.inGrace(b.now()) && entry.Lineage == now.cred.Lineage && !entry.isOf(now.cred) && entry.mayReturnTo(now.name)
		if usable && (newest == nil || entry.Version > newest.Version) {
			newest = entry
		}
	}
	if newest == nil {
		return nil, refusef("role %s has no previous token within its grace period to go back to; nothing was changed", now.name)
	}
	return newest, nil
}

// undo makes the previous token current again and puts the newer one into the ledger. The caller
// holds the role's lock.
func (b *backend) undo(ctx context.Context, now *rotation, grace time.Duration) (*turnover, error) {
	entry, err := b.previous(ctx, now)
	if err != nil {
		return nil, err
	}
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	proven, err := b.proveUndo(ctx, cfg, now, entry)
	if err != nil {
		return nil, err
	}
	if now.role.Managed != nil {
		if err = b.grant(ctx, cfg, proven, now.role.Managed.EnvironmentRoles); err != nil {
			return nil, fmt.Errorf("%w; the current token (version %d) stays", err, now.cred.Version)
		}
	}
	return b.replace(context.WithoutCancel(ctx), now, proven, reasonUndone, grace)
}

// proveUndo asks Modal whether the previous token is still what it was, and what the role's policy now
// wants of its token.
func (b *backend) proveUndo(ctx context.Context, cfg *config, now *rotation, entry *revocation) (Token, error) {
	proven, err := b.accept(ctx, cfg, entry.Token, true)
	if err != nil {
		return Token{}, err
	}
	if !proven.sameOwner(entry.Token) {
		return Token{}, refusef("token %s is now of %s, and was of %s; nothing was changed", entry.ID, proven.owner(), entry.owner())
	}
	if now.role.Managed == nil {
		return proven, nil
	}
	if err = b.fitsPolicy(ctx, cfg, now.role, proven); err != nil {
		return Token{}, fmt.Errorf("%w; nothing was changed", err)
	}
	return proven, nil
}

// fitsPolicy refuses a service user that a managed role could not have made now.
func (b *backend) fitsPolicy(ctx context.Context, cfg *config, r *role, t Token) error {
	if err := cfg.permits(r); err != nil {
		return err
	}
	if err := cfg.reaches(t); err != nil {
		return err
	}
	a, err := b.admin(cfg)
	if err != nil {
		return err
	}
	defer a.release()
	user, err := a.ServiceUser(ctx, a.token, t.Identity)
	if err != nil {
		return fmt.Errorf("read service user %s: %w", t.Identity, a.explain(err))
	}
	if user.Scoped != r.Managed.Scoped {
		return refusef("token %s was made with scoped=%t, and the role now says scoped=%t: rotate to a new token instead",
			t.ID, user.Scoped, r.Managed.Scoped)
	}
	return nil
}
