// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"slices"
	"time"
)

func (e *Engine) createStatic(ctx context.Context, r *Role, ask RoleWrite) (warnings []string, err error) {
	if ask.Pair == nil {
		return nil, e.establishEmpty(ctx, ask.Name, r)
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	first, err := e.first(ctx, cfg, ask)
	if err != nil {
		return nil, err
	}
	if err = e.establish(ctx, ask.Name, r, first); err != nil {
		return nil, err
	}
	return slices.Concat(ask.Warnings, first.warnings(), e.shortLife(ask.Name, r, first)), nil
}

func (e *Engine) updateStatic(ctx context.Context, before, after *Role, ask RoleWrite) (warnings []string, err error) {
	if ask.Pair != nil {
		if warnings, err = e.confirmToken(ctx, after, ask); err != nil {
			return nil, err
		}
	}
	warnings = slices.Concat(ask.Warnings, warnings)
	if *after == *before {
		return warnings, nil
	}
	return warnings, e.roles.Put(ctx, ask.Name, after)
}

// establishEmpty stores a role whose first token is still to come, or which never has one. What a
// half-finished create or delete left under its name is not its token.
func (e *Engine) establishEmpty(ctx context.Context, name string, r *Role) error {
	e.handover.Lock()
	defer e.handover.Unlock()
	left, err := e.credentials.Get(ctx, name)
	if err != nil {
		return err
	}
	if left != nil {
		if err = e.credentials.Delete(ctx, name); err != nil {
			return err
		}
	}
	return e.roles.Put(ctx, name, r)
}

// confirmToken takes the current token again, and proves it when it was stored unproven, or takes the
// first one of a role that has none. Any other token is for rotate.
func (e *Engine) confirmToken(ctx context.Context, r *Role, ask RoleWrite) (warnings []string, err error) {
	name, pair := ask.Name, *ask.Pair
	cred, err := e.credentials.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case cred == nil:
		first, failed := e.first(ctx, cfg, ask)
		if failed != nil {
			return nil, failed
		}
		done, failed := e.receiveFirst(ctx, newRotation(name, r, nil, e.Now()), first)
		if failed != nil {
			return nil, failed
		}
		return slices.Concat(first.warnings(), done.Warnings), nil
	case cred.pair() != pair:
		return nil, Refusef("role %s has another token: replace it with: vault write %srotate/%s token_id=… token_secret=-; nothing was changed",
			name, e.mount(), name)
	case cred.Verified() || !ask.Verify:
		return nil, nil
	}
	proven, err := e.accept(ctx, cfg, cred.Token, true)
	if err == nil {
		err = e.refuseLeased(ctx, proven)
	}
	if err != nil {
		return nil, err
	}
	after := *cred
	after.Token, after.Refused = proven, time.Time{}
	return nil, e.credentials.Put(ctx, name, &after)
}

// first is the token that a supplied pair stands for, when it may be a role's first one.
func (e *Engine) first(ctx context.Context, cfg *Config, ask RoleWrite) (Token, error) {
	if err := e.refuseHeld(ctx, ask.Pair.ID, ask.Name); err != nil {
		return Token{}, err
	}
	first, err := e.accept(ctx, cfg, unproven(*ask.Pair, cfg.ServerURL), ask.Verify)
	if err != nil {
		return Token{}, err
	}
	return first, first.refuseMade(ask.Force)
}
