// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// previous is the newest token of a role that is still in its grace period and was not deleted at Modal
// before its end.
func (b *backend) previous(ctx context.Context, s logical.Storage, now *rotation) (*revocation, error) {
	entries, err := b.previousTokens(ctx, s, now.name)
	if err != nil {
		return nil, err
	}
	var newest *revocation
	for _, entry := range entries {
		usable := entry.ID != "" && entry.Lineage == now.cred.Lineage && !entry.isOf(now.cred) &&
			b.now().Before(entry.NotBefore) && !entry.Unconfirmed
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
func (b *backend) undo(ctx context.Context, s logical.Storage, now *rotation, grace time.Duration) (*turnover, error) {
	entry, err := b.previous(ctx, s, now)
	if err != nil {
		return nil, err
	}
	cfg, err := b.loadConfig(ctx, s)
	if err != nil {
		return nil, err
	}
	proven, err := b.proveUndo(ctx, cfg, now, entry)
	if err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx)
	if now.role.Managed != nil {
		if err = b.grant(ctx, cfg, proven, now.role.Managed.EnvironmentRoles); err != nil {
			return nil, err
		}
	}
	cred := now.cred.successor(now.role, proven, b.now())
	newer := newRevocation(now.name, now.cred, reasonUndone, cfg.method(now.role, now.cred.token), b.now(), grace)
	b.handover.Lock()
	defer b.handover.Unlock()
	if err = b.revocations.put(ctx, s, newer.key(), newer); err != nil {
		return nil, err
	}
	if err = b.credentials.put(ctx, s, now.name, cred); err != nil {
		return nil, err
	}
	b.finish(ctx, s, entry.key())
	return &turnover{cred: cred, old: newer, grace: grace, warnings: graceWarnings(grace, now.role.RefreshInterval)}, nil
}

// proveUndo asks Modal whether the previous token is still what it was, and what the role's policy now
// wants of its token.
func (b *backend) proveUndo(ctx context.Context, cfg *config, now *rotation, entry *revocation) (token, error) {
	proven, err := b.prove(ctx, cfg, entry.pair())
	if err != nil {
		return token{}, unchanged(entry.pair(), err)
	}
	if !proven.sameOwner(entry.token) {
		return token{}, refusef("token %s is now of %s, and was of %s; nothing was changed", entry.ID, proven.owner(), entry.owner())
	}
	if now.role.Managed == nil {
		return proven, nil
	}
	if err = cfg.permits(now.role); err != nil {
		return token{}, err
	}
	a, err := b.admin(cfg)
	if err != nil {
		return token{}, err
	}
	defer a.release()
	user, err := a.ServiceUser(ctx, a.token, proven.Identity)
	if err != nil {
		return token{}, fmt.Errorf("read service user %s: %w; nothing was changed", proven.Identity, a.explain(err))
	}
	if user.Scoped != now.role.Managed.Scoped {
		return token{}, refusef("token %s was made with scoped=%t, and the role now says scoped=%t: rotate to a new token instead; nothing was changed",
			entry.ID, user.Scoped, now.role.Managed.Scoped)
	}
	return proven, nil
}
