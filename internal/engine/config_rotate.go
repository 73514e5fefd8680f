// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// AdminRotationResult is the result of a replacement of the admin token. Config is the config after it. Previous is
// the revocation of the replaced admin token, or nil if there was none. Changed says that the admin token changed.
type AdminRotationResult struct {
	Changed  bool
	Config   *model.Config
	Previous *model.Revocation
	Warnings []string
}

// RotateAdmin replaces the admin token by a token that an operator brings and Modal accepts, and changes nothing
// else.
func (cs *Configs) RotateAdmin(ctx context.Context, ask model.AdminRotation) (*AdminRotationResult, error) {
	if ask.Token == nil {
		return nil, model.UserErrorf("token_id and token_secret of the next admin token are missing: create a token at %s, then: %s; "+
			"or approve a token in a browser: %s; nothing was changed", model.TokensPage, cs.mount.Commands().RotateAdmin(), cs.mount.Commands().Approve(""))
	}
	unlock, err := cs.mount.LockConfig(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	before, err := cs.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	if before.Admin != nil && before.Admin.APIToken() == *ask.Token && before.State(cs.mount.Now()) == model.AdminOK {
		return &AdminRotationResult{Config: before}, nil
	}
	proven, limitation, err := cs.verifyAdminToken(ctx, before, *ask.Token)
	if err != nil {
		return nil, err
	}
	done, err := cs.replaceAdmin(ctx, before, proven, limitation, ask.Grace, ask.Force)
	if err != nil {
		return nil, err
	}
	done.Warnings = slices.Concat(ask.Warnings, done.Warnings)
	return done, nil
}

// replaceAdmin makes a verified token the admin token, if config and the mount allow it. The caller holds config's
// lock.
func (cs *Configs) replaceAdmin(ctx context.Context, before *model.Config, proven model.Token, limitation string, grace *time.Duration, force bool) (*AdminRotationResult, error) {
	if err := cs.workspaces.CheckPinned(ctx, before, proven); err != nil {
		return nil, err
	}
	last, err := cs.workspaces.Last(ctx, before)
	if err != nil {
		return nil, err
	}
	if err = before.CheckNextAdmin(last, proven, limitation, force); err != nil {
		return nil, err
	}
	after := *before
	after.SetAdmin(proven, limitation)
	old, err := cs.store(ctx, before, &after, grace)
	if err != nil {
		return nil, err
	}
	return &AdminRotationResult{
		Changed: true, Config: &after, Previous: old, Warnings: slices.Concat(after.LimitationWarnings(), cs.effects(ctx, before, &after)),
	}, nil
}
