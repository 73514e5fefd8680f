// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// previousToken returns the newest token of a role that is in its grace period and whose deletion has not started.
func (rt *Rotations) previousToken(ctx context.Context, rotation *model.Rotation) (*model.Revocation, error) {
	entries, err := rt.mount.PreviousTokens(ctx, rotation.Name)
	if err != nil {
		return nil, err
	}
	var newest *model.Revocation
	for _, entry := range entries {
		usable := entry.InGrace(rt.mount.Now()) && entry.GenerationID == rotation.Cred.GenerationID && !entry.IsOf(rotation.Cred) && entry.MayReturn()
		if usable && (newest == nil || entry.Version > newest.Version) {
			newest = entry
		}
	}
	if newest == nil {
		return nil, model.UserErrorf("role %s has no previous token in its grace period: rotate it to a new token with: %s; nothing was changed", rotation.Name, rt.mount.Commands().ReplaceToken(rotation.Role, rotation.Name))
	}
	return newest, nil
}

// undo makes the previous token current again, and puts the newer token into the revocation queue. The caller holds
// the role's lock.
func (rt *Rotations) undo(ctx context.Context, rotation *model.Rotation, grace time.Duration) (*RotationResult, error) {
	entry, err := rt.previousToken(ctx, rotation)
	if err != nil {
		return nil, err
	}
	cfg, err := rt.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	proven, err := rt.verifyUndo(ctx, cfg, rotation, entry)
	if err != nil {
		return nil, err
	}
	var warnings []string
	if rotation.Role.Managed != nil {
		if warnings, err = rt.grantCurrentRights(ctx, cfg, rotation, proven); err != nil {
			return nil, rt.rights.explainGone(fmt.Errorf("%w; the current token (version %d) stays", err, rotation.Cred.Version), rotation.Name)
		}
	}
	if len(warnings) > 0 { // then the worker sets the roles again
		cred := *rotation.Cred
		cred.RolesDiffer = true
		rotation = model.NewRotation(rotation.Name, rotation.Role, &cred, rt.mount.Now())
	}
	done, err := rt.replace(context.WithoutCancel(ctx), rotation, proven, model.ReasonUndone, grace)
	if err != nil {
		return nil, err
	}
	done.Warnings = append(warnings, done.Warnings...)
	return done, nil
}

// grantCurrentRights gives a previous token the present rights of the role, whatever rights Modal reports.
func (rt *Rotations) grantCurrentRights(ctx context.Context, cfg *model.Config, rotation *model.Rotation, t model.Token) (warnings []string, err error) {
	roles := rotation.Role.Managed.EnvironmentRoles
	change := model.RoleChange{Want: model.Exactly(roles), Always: model.AllOf(roles), Back: model.AtMost(roles)}
	if _, err = rt.rights.change(ctx, cfg, t, change); err != nil {
		return nil, err
	}
	for _, user := range rt.rights.readBack(ctx, cfg, []changedUser{{token: t, want: change.Want}}) {
		warnings = append(warnings, rt.rights.notShown(cfg, user))
	}
	return warnings, nil
}

// verifyUndo asks Modal whether the previous token still has the same owner, and whether it fits the role's present
// settings.
func (rt *Rotations) verifyUndo(ctx context.Context, cfg *model.Config, rotation *model.Rotation, entry *model.Revocation) (model.Token, error) {
	proven, err := rt.owners.Accept(ctx, cfg, entry.Token, true)
	if err != nil {
		return model.Token{}, err
	}
	if !proven.HasSameOwner(entry.Token) {
		return model.Token{}, model.UserErrorf("token %s now belongs to %s, but it belonged to %s before; nothing was changed", entry.ID, proven.DescribeOwner(), entry.DescribeOwner())
	}
	if !entry.Verified() && !proven.HasSameOwner(rotation.Cred.Token) {
		return model.Token{}, model.UserErrorf("token %s was stored with verify=false and belongs to %s, but the role's token belongs to %s: rotate to it with its token_id, token_secret and force=true; nothing was changed",
			entry.ID, proven.DescribeOwner(), rotation.Cred.DescribeOwner())
	}
	if rotation.Role.Managed == nil {
		return proven, nil
	}
	if err = rt.checkFitsPolicy(ctx, cfg, rotation.Name, rotation.Role, proven); err != nil {
		return model.Token{}, fmt.Errorf("%w; nothing was changed", err)
	}
	return proven, nil
}

// checkFitsPolicy refuses a service user that does not fit the managed role's present settings.
func (rt *Rotations) checkFitsPolicy(ctx context.Context, cfg *model.Config, name string, r *model.Role, t model.Token) error {
	if err := cfg.CheckRole(r); err != nil {
		return err
	}
	a, user, err := rt.rights.serviceUserOf(ctx, cfg, t)
	if err != nil {
		return rt.rights.explainGone(err, name)
	}
	a.Release()
	if user.Scoped != r.Managed.Scoped {
		return model.UserErrorf("token %s was created with scoped=%t, but the role now has scoped=%t: rotate to a new token instead with: %s",
			t.ID, user.Scoped, r.Managed.Scoped, rt.mount.Commands().Rotate(name))
	}
	return nil
}
