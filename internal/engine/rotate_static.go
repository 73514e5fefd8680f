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
func (rt *Rotations) rotateStatic(ctx context.Context, rotation *model.Rotation, ask model.RotateRequest) (*RotationResult, error) {
	brought, err := ask.TokenFor(rotation, rt.mount.Commands())
	if err != nil {
		return nil, err
	}
	if brought.ID == rotation.Cred.ID {
		return rt.rotateToSame(ctx, rotation, brought, ask.Verify)
	}
	next, err := rt.acceptSuccessor(ctx, rotation, brought, ask)
	if err != nil {
		return nil, err
	}
	done, err := rt.replace(ctx, rotation, next, model.ReasonRotated, ask.GraceOr(rotation.Role.GracePeriod))
	if err != nil {
		return nil, err
	}
	done.Warnings = slices.Concat(ask.Warnings, next.Warnings(), done.Warnings, next.OtherMountWarnings(rotation.Role))
	return done, nil
}

// acceptSuccessor checks a supplied token ID and secret, and returns the token if the role may rotate to it.
func (rt *Rotations) acceptSuccessor(ctx context.Context, rotation *model.Rotation, brought modalapi.Token, ask model.RotateRequest) (model.Token, error) {
	cfg, err := rt.mount.LoadConfig(ctx)
	if err != nil {
		return model.Token{}, err
	}
	supplied := model.UnverifiedToken(brought, cfg.ServerURL)
	if err = rt.owners.CheckFree(ctx, supplied, rotation.Name, ask.Verify); err != nil {
		return model.Token{}, err
	}
	if !rotation.HasNoToken() && !rotation.Cred.Verified() && !ask.Force {
		return model.Token{}, model.UserErrorf("the role's token %s was stored with verify=false, so the engine does not know who must own the next token: "+
			"verify it first with: %s, or write force=true to accept any owner of token %s; nothing was changed",
			rotation.Cred.ID, rt.mount.Commands().VerifyFirst(rotation.Name, rotation.Cred.ID), brought.ID)
	}
	next, err := rt.owners.AcceptWithin(ctx, cfg, supplied, ask.Verify)
	if err != nil {
		return model.Token{}, err
	}
	if !next.HasSameOwner(rotation.Cred.Token) && !ask.Force {
		return model.Token{}, model.UserErrorf("token %s belongs to %s, but the role's token belongs to %s: bring a token of the same owner, or write force=true to change the owner "+
			"(a service user never gets a second token, so its next token always needs force=true); nothing was changed",
			next.ID, next.DescribeOwner(), rotation.Cred.DescribeOwner())
	}
	return next, next.CheckNotCreatedByMount(ask.Force)
}

// rotateToSame answers a repeated request like the first one. It also accepts the right secret for a token that was
// stored with verify=false and a wrong secret.
func (rt *Rotations) rotateToSame(ctx context.Context, rotation *model.Rotation, brought modalapi.Token, verify bool) (*RotationResult, error) {
	if rotation.Cred.APIToken() == brought {
		return &RotationResult{Cred: rotation.Cred}, nil
	}
	proven, err := rt.verifySame(ctx, rotation, brought, verify)
	if err != nil {
		return nil, err
	}
	cred := rotation.Cred.Successor(rotation.Role, proven, rt.mount.Now(), rt.mount.Jitter)
	if err = rt.owners.Assign(ctx, proven, rotation.Name, func() error { return rt.mount.Credentials.Put(ctx, rotation.Name, cred) }); err != nil {
		return nil, err
	}
	return &RotationResult{Changed: true, Cred: cred}, nil
}

// verifySame asks Modal about the current token with another secret.
func (rt *Rotations) verifySame(ctx context.Context, rotation *model.Rotation, brought modalapi.Token, verify bool) (model.Token, error) {
	if !verify {
		return model.Token{}, model.UserErrorf("token %s is the role's current token, but with another secret: a token has only one secret, so let Modal decide with verify=true; nothing was changed", brought.ID)
	}
	cfg, err := rt.mount.LoadConfig(ctx)
	if err != nil {
		return model.Token{}, err
	}
	supplied := model.UnverifiedToken(brought, rotation.Cred.ServerURL)
	if err = rt.owners.CheckFree(ctx, supplied, rotation.Name, verify); err != nil {
		return model.Token{}, err
	}
	return rt.owners.AcceptWithin(ctx, cfg, supplied, verify)
}
