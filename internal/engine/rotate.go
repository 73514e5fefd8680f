// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// Rotations replaces the current tokens of roles, and restores previous ones.
type Rotations struct {
	mount  *state.Mount
	owners *state.Owners
	minter *minter
	rights *rights
}

// Rotate replaces a role's current token.
func (rt *Rotations) Rotate(ctx context.Context, ask model.RotateRequest) (*RotationResult, error) {
	rotation, unlock, err := rt.lockForRotation(ctx, ask)
	if err != nil {
		return nil, err
	}
	defer unlock()
	done, err := rt.rotateLocked(ctx, rotation, ask)
	if err != nil && !model.IsUserError(err) {
		rt.mount.Log().Warn("rotation failed", "role", rotation.Name, "version", rotation.Cred.Version, "error", err)
		rt.mount.Publish(ctx, rotation.FailureEvent())
	}
	return done, err
}

// lockForRotation locks a role, and refuses a request that does not fit the type of the role.
func (rt *Rotations) lockForRotation(ctx context.Context, ask model.RotateRequest) (rotation *model.Rotation, unlock func(), err error) {
	if unlock, err = rt.mount.LockRole(ctx, ask.Role); err != nil {
		return nil, nil, err
	}
	rotation, err = rt.mount.Rotation(ctx, ask.Role)
	switch {
	case err != nil:
	case rotation == nil:
		err = model.UserErrorf("%s", rt.mount.NoSuchRole(ctx, ask.Role, fmt.Sprintf("; create it with: %s, or type=%s token_id=… token_secret=-",
			rt.mount.Commands().CreateManaged(ask.Role), model.TypeStatic)))
	case rotation.Role.Dynamic != nil:
		err = rt.mount.CheckNotDynamic(rotation.Role, ask.Role)
	case rotation.Role.Type == model.TypeManaged:
		err = ask.RefuseForManaged()
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return rotation, unlock, nil
}

// rotateLocked does the requested kind of rotation. The caller holds the role's lock.
func (rt *Rotations) rotateLocked(ctx context.Context, rotation *model.Rotation, ask model.RotateRequest) (*RotationResult, error) {
	grace := ask.GraceOr(rotation.Role.GracePeriod)
	if err := rt.checkPreviousTokenLimit(ctx, rotation, ask); err != nil {
		return nil, err
	}
	var done *RotationResult
	var err error
	switch {
	case ask.ToPrevious:
		done, err = rt.undo(ctx, rotation, grace)
	case rotation.Role.Type == model.TypeManaged:
		done, err = rt.rotateManaged(ctx, rotation, grace)
	default:
		done, err = rt.rotateStatic(ctx, rotation, ask)
	}
	if err != nil {
		return nil, err
	}
	if done.Changed {
		rt.publish(ctx, rotation.Name, done)
	}
	return done, nil
}

// checkPreviousTokenLimit refuses an operator's rotation that would keep too many service users alive. An undo does
// not change their number, and a repeated request adds none. The limit never blocks the schedule.
func (rt *Rotations) checkPreviousTokenLimit(ctx context.Context, rotation *model.Rotation, ask model.RotateRequest) error {
	again := ask.Token != nil && ask.Token.ID == rotation.Cred.ID
	if again || ask.ToPrevious || ask.GraceOr(rotation.Role.GracePeriod) == 0 {
		return nil
	}
	entries, err := rt.mount.PreviousTokens(ctx, rotation.Name)
	if err != nil {
		return err
	}
	alive := 0
	for _, entry := range entries {
		if entry.CanDelete() && entry.InGrace(rt.mount.Now()) {
			alive++
		}
	}
	if alive < model.MaxPreviousTokens {
		return nil
	}
	return model.UserErrorf("role %s has %d previous tokens in their grace period, and the limit is %d: revoke some of them with: %s, wait, "+
		"or rotate with grace_period=0; nothing was changed", rotation.Name, alive, model.MaxPreviousTokens, rt.mount.Commands().ForceRevocation("<id>"))
}
