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
	now, unlock, err := rt.lockForRotation(ctx, ask)
	if err != nil {
		return nil, err
	}
	defer unlock()
	done, err := rt.rotateLocked(ctx, now, ask)
	if err != nil && !model.IsUserError(err) {
		rt.mount.Log().Warn("rotation failed", "role", now.Name, "version", now.Cred.Version, "error", err)
		rt.mount.Publish(ctx, now.FailureEvent())
	}
	return done, err
}

// lockForRotation locks a role, and refuses a request that does not fit the type of the role.
func (rt *Rotations) lockForRotation(ctx context.Context, ask model.RotateRequest) (now *model.Rotation, unlock func(), err error) {
	if unlock, err = rt.mount.LockRole(ctx, ask.Role); err != nil {
		return nil, nil, err
	}
	now, err = rt.mount.Rotation(ctx, ask.Role)
	switch {
	case err != nil:
	case now == nil:
		err = model.UserErrorf("%s", rt.mount.NoSuchRole(ctx, ask.Role, fmt.Sprintf("; create it with: %s, or type=%s token_id=… token_secret=-",
			rt.mount.Commands().Write("roles/"+ask.Role, "type="+model.TypeManaged, "environment_roles=main=contributor"), model.TypeStatic)))
	case now.Role.Dynamic != nil:
		err = rt.mount.CheckNotDynamic(now.Role, ask.Role)
	case now.Role.Type == model.TypeManaged:
		err = ask.RefuseForManaged()
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return now, unlock, nil
}

// rotateLocked does the requested kind of rotation. The caller holds the role's lock.
func (rt *Rotations) rotateLocked(ctx context.Context, now *model.Rotation, ask model.RotateRequest) (*RotationResult, error) {
	grace := ask.GraceOr(now.Role.GracePeriod)
	if err := rt.checkPreviousTokenLimit(ctx, now, ask); err != nil {
		return nil, err
	}
	var done *RotationResult
	var err error
	switch {
	case ask.ToPrevious:
		done, err = rt.undo(ctx, now, grace)
	case now.Role.Type == model.TypeManaged:
		done, err = rt.rotateManaged(ctx, now, grace)
	default:
		done, err = rt.rotateStatic(ctx, now, ask)
	}
	if err != nil {
		return nil, err
	}
	if done.Changed {
		rt.publish(ctx, now.Name, done)
	}
	return done, nil
}

// checkPreviousTokenLimit refuses an operator's rotation that would keep too many service users alive. An undo does
// not change their number, and a repeated request adds none. The limit never blocks the schedule.
func (rt *Rotations) checkPreviousTokenLimit(ctx context.Context, now *model.Rotation, ask model.RotateRequest) error {
	again := ask.Token != nil && ask.Token.ID == now.Cred.ID
	if again || ask.ToPrevious || ask.GraceOr(now.Role.GracePeriod) == 0 {
		return nil
	}
	entries, err := rt.mount.PreviousTokens(ctx, now.Name)
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
	return model.UserErrorf("role %s has %d previous tokens in their grace period, and the limit is %d: revoke some of them with: vault write %srevocations/<id> force=true, wait, "+
		"or rotate with grace_period=0; nothing was changed", now.Name, alive, model.MaxPreviousTokens, rt.mount.CommandPrefix())
}
