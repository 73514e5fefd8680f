// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"slices"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// rotateStatic replaces the token by a token that an operator brings and Modal accepts for the same owner. The caller
// holds the role's lock.
func (rt *Rotations) rotateStatic(ctx context.Context, now *model.Rotation, ask model.RotateRequest) (*RotationResult, error) {
	brought, err := ask.TokenFor(now, rt.mount.CommandPrefix())
	if err != nil {
		return nil, err
	}
	if brought.ID == now.Cred.ID {
		return rt.rotateToSame(ctx, now, brought, ask.Verify)
	}
	next, err := rt.acceptSuccessor(ctx, now, brought, ask)
	if err != nil {
		return nil, err
	}
	done, err := rt.replace(ctx, now, next, model.ReasonRotated, ask.GraceOr(now.Role.GracePeriod))
	if err != nil {
		return nil, err
	}
	done.Warnings = slices.Concat(ask.Warnings, next.Warnings(), done.Warnings, next.OtherMountWarnings(now.Role))
	return done, nil
}

// acceptSuccessor checks a supplied token ID and secret, and returns the token if the role may rotate to it.
func (rt *Rotations) acceptSuccessor(ctx context.Context, now *model.Rotation, brought modalapi.Token, ask model.RotateRequest) (model.Token, error) {
	cfg, err := rt.mount.LoadConfig(ctx)
	if err != nil {
		return model.Token{}, err
	}
	supplied := model.UnverifiedToken(brought, cfg.ServerURL)
	if err = rt.owners.CheckFree(ctx, supplied, now.Name, ask.Verify); err != nil {
		return model.Token{}, err
	}
	if !now.HasNoToken() && !now.Cred.Verified() && !ask.Force {
		return model.Token{}, model.UserErrorf("the role's token %s was stored with verify=false, so the engine does not know who must own the next token: "+
			"verify it first with: vault write %sroles/%s token_id=%s token_secret=-, or write force=true to accept any owner of token %s; nothing was changed",
			now.Cred.ID, rt.mount.CommandPrefix(), now.Name, now.Cred.ID, brought.ID)
	}
	next, err := rt.owners.AcceptWithin(ctx, cfg, supplied, ask.Verify)
	if err != nil {
		return model.Token{}, err
	}
	if !next.HasSameOwner(now.Cred.Token) && !ask.Force {
		return model.Token{}, model.UserErrorf("token %s belongs to %s, but the role's token belongs to %s: bring a token of the same owner, or write force=true to change the owner "+
			"(a service user never gets a second token, so its next token always needs force=true); nothing was changed",
			next.ID, next.DescribeOwner(), now.Cred.DescribeOwner())
	}
	return next, next.CheckNotCreatedByMount(ask.Force)
}

// rotateToSame answers a repeated request like the first one. It also accepts the right secret for a token that was
// stored with verify=false and a wrong secret.
func (rt *Rotations) rotateToSame(ctx context.Context, now *model.Rotation, brought modalapi.Token, verify bool) (*RotationResult, error) {
	if now.Cred.APIToken() == brought {
		return &RotationResult{Cred: now.Cred}, nil
	}
	proven, err := rt.verifySame(ctx, now, brought, verify)
	if err != nil {
		return nil, err
	}
	cred := now.Cred.Successor(now.Role, proven, rt.mount.Now(), rt.mount.Jitter)
	if err = rt.owners.Assign(ctx, proven, now.Name, func() error { return rt.mount.Credentials.Put(ctx, now.Name, cred) }); err != nil {
		return nil, err
	}
	return &RotationResult{Changed: true, Cred: cred}, nil
}

// verifySame asks Modal about the current token with another secret.
func (rt *Rotations) verifySame(ctx context.Context, now *model.Rotation, brought modalapi.Token, verify bool) (model.Token, error) {
	if !verify {
		return model.Token{}, model.UserErrorf("token %s is the role's current token, but with another secret: a token has only one secret, so let Modal decide with verify=true; nothing was changed", brought.ID)
	}
	cfg, err := rt.mount.LoadConfig(ctx)
	if err != nil {
		return model.Token{}, err
	}
	supplied := model.UnverifiedToken(brought, now.Cred.ServerURL)
	if err = rt.owners.CheckFree(ctx, supplied, now.Name, verify); err != nil {
		return model.Token{}, err
	}
	return rt.owners.AcceptWithin(ctx, cfg, supplied, verify)
}
