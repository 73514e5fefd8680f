// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"slices"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func (b *backend) createStatic(ctx context.Context, r *role, ask roleWrite, resp *logical.Response) error {
	if ask.pair == nil {
		return refusef("role %s needs its first token: write token_id and token_secret with it; nothing was stored", ask.name)
	}
	if err := b.refuseHeld(ctx, ask.pair.ID, ask.name); err != nil {
		return err
	}
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return err
	}
	first, err := b.accept(ctx, cfg, unproven(*ask.pair, cfg.ServerURL), ask.verify)
	if err != nil {
		return err
	}
	if err = first.refuseMade(ask.force); err != nil {
		return err
	}
	resp.Warnings = slices.Concat(ask.warnings, first.warnings(), r.warnings())
	return b.establish(ctx, ask.name, r, first)
}

// confirmToken takes the current token again, and proves it when it was stored unproven. Any other
// token is for rotate.
func (b *backend) confirmToken(ctx context.Context, req *logical.Request, name string, pair modalapi.Token, verify bool) error {
	cred, err := b.credentials.Get(ctx, name)
	if err != nil {
		return err
	}
	if cred == nil || cred.pair() != pair {
		return refusef("role %s has another token: replace it with: vault write %srotate/%s token_id=… token_secret=…; nothing was changed",
			name, req.MountPoint, name)
	}
	if cred.verified() || !verify {
		return nil
	}
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return err
	}
	proven, err := b.accept(ctx, cfg, cred.Token, verify)
	if err != nil {
		return err
	}
	after := *cred
	after.Token = proven
	return b.credentials.Put(ctx, name, &after)
}
