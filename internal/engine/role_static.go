// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"slices"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func (e *Engine) createStatic(ctx context.Context, r *Role, ask RoleWrite) (warnings []string, err error) {
	if ask.Pair == nil {
		return nil, Refusef("role %s needs a token_id and token_secret, of %s: vault write %sroles/%s type=static token_id=… token_secret=-; nothing was stored", ask.Name, tokensPage, e.mount(), ask.Name)
	}
	if err = e.refuseHeld(ctx, ask.Pair.ID, ask.Name); err != nil {
		return nil, err
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	first, err := e.accept(ctx, cfg, unproven(*ask.Pair, cfg.ServerURL), ask.Verify)
	if err != nil {
		return nil, err
	}
	if err = first.refuseMade(ask.Force); err != nil {
		return nil, err
	}
	return slices.Concat(ask.Warnings, first.warnings()), e.establish(ctx, ask.Name, r, first)
}

func (e *Engine) updateStatic(ctx context.Context, before, after *Role, ask RoleWrite) (warnings []string, err error) {
	if ask.Pair != nil {
		if err = e.confirmToken(ctx, ask.Name, *ask.Pair, ask.Verify); err != nil {
			return nil, err
		}
	}
	if *after == *before {
		return ask.Warnings, nil
	}
	return ask.Warnings, e.roles.Put(ctx, ask.Name, after)
}

// confirmToken takes the current token again, and proves it when it was stored unproven. Any other
// token is for rotate.
func (e *Engine) confirmToken(ctx context.Context, name string, pair modalapi.Token, verify bool) error {
	cred, err := e.credentials.Get(ctx, name)
	if err != nil {
		return err
	}
	if cred == nil || cred.pair() != pair {
		return Refusef("role %s has another token: replace it with: vault write %srotate/%s token_id=… token_secret=…; nothing was changed",
			name, e.mount(), name)
	}
	if cred.Verified() || !verify {
		return nil
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	proven, err := e.accept(ctx, cfg, cred.Token, verify)
	if err != nil {
		return err
	}
	after := *cred
	after.Token = proven
	return e.credentials.Put(ctx, name, &after)
}
