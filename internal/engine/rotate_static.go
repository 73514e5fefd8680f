// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"slices"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// rotateStatic replaces the token by one that an operator brings and Modal accepts as the same
// identity's. The caller holds the role's lock.
func (rt *Rotations) rotateStatic(ctx context.Context, now *model.Rotation, ask model.RotateRequest) (*RotationResult, error) {
	pair, err := ask.TokenFor(now, rt.mount.CommandPrefix())
	if err != nil {
		return nil, err
	}
	if pair.ID == now.Cred.ID {
		return rt.rotateToSame(ctx, now, pair, ask.Verify)
	}
	next, err := rt.acceptSuccessor(ctx, now, pair, ask)
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

// acceptSuccessor is the token that a supplied pair stands for, when a role may rotate to it.
func (rt *Rotations) acceptSuccessor(ctx context.Context, now *model.Rotation, pair modalapi.Token, ask model.RotateRequest) (model.Token, error) {
	cfg, err := rt.mount.LoadConfig(ctx)
	if err != nil {
		return model.Token{}, err
	}
	supplied := model.UnverifiedToken(pair, cfg.ServerURL)
	if err = rt.owners.CheckFree(ctx, supplied, now.Name, ask.Verify); err != nil {
		return model.Token{}, err
	}
	if !now.HasNoToken() && !now.Cred.Verified() && !ask.Force {
		return model.Token{}, model.UserErrorf("the role's token %s was stored unproven, so nothing says whose the next one has to be: "+
			"prove it first (vault write %sroles/%s token_id=%s token_secret=-), or write force=true to take token %s as it is; nothing was changed",
			now.Cred.ID, rt.mount.CommandPrefix(), now.Name, now.Cred.ID, pair.ID)
	}
	next, err := rt.owners.AcceptWithin(ctx, cfg, supplied, ask.Verify)
	if err != nil {
		return model.Token{}, err
	}
	if !next.HasSameOwner(now.Cred.Token) && !ask.Force {
		return model.Token{}, model.UserErrorf("token %s is of %s, but the role's token is of %s: bring a token of the same, or write force=true to change it "+
			"(a service user has one token for life, so its next token is always another one's); nothing was changed",
			next.ID, next.DescribeOwner(), now.Cred.DescribeOwner())
	}
	return next, next.CheckNotCreatedByMount(ask.Force)
}

// rotateToSame answers a repeated request as the first one, and takes the right secret for a token
// that was stored unproven with a wrong one.
func (rt *Rotations) rotateToSame(ctx context.Context, now *model.Rotation, pair modalapi.Token, verify bool) (*RotationResult, error) {
	if now.Cred.APIToken() == pair {
		return &RotationResult{Cred: now.Cred}, nil
	}
	proven, err := rt.verifySame(ctx, now, pair, verify)
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
func (rt *Rotations) verifySame(ctx context.Context, now *model.Rotation, pair modalapi.Token, verify bool) (model.Token, error) {
	if !verify {
		return model.Token{}, model.UserErrorf("token %s is the role's current token, with another secret: a token has one secret, so let Modal decide with verify=true; nothing was changed", pair.ID)
	}
	cfg, err := rt.mount.LoadConfig(ctx)
	if err != nil {
		return model.Token{}, err
	}
	supplied := model.UnverifiedToken(pair, now.Cred.ServerURL)
	if err = rt.owners.CheckFree(ctx, supplied, now.Name, verify); err != nil {
		return model.Token{}, err
	}
	return rt.owners.AcceptWithin(ctx, cfg, supplied, verify)
}
