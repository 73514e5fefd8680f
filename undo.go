// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// previous is the newest token of a role that is still in its grace period.
func (b *backend) previous(ctx context.Context, s logical.Storage, now *rotation) (*revocation, error) {
	entries, err := b.previousTokens(ctx, s, now.name)
	if err != nil {
		return nil, err
	}
	var newest *revocation
	for _, entry := range entries {
		if entry.ID != "" && b.now().Before(entry.NotBefore) && !entry.isOf(now.cred) && (newest == nil || entry.Version > newest.Version) {
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
	proven, err := b.accept(ctx, s, entry.pair(), true)
	if err != nil {
		return nil, unchanged(entry.pair(), err)
	}
	if !proven.sameOwner(entry.token) {
		return nil, refusef("token %s is now of %s, and was of %s; nothing was changed", entry.ID, proven.owner(), entry.owner())
	}
	ctx = context.WithoutCancel(ctx)
	cfg, err := b.loadConfig(ctx, s)
	if err != nil {
		return nil, err
	}
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
