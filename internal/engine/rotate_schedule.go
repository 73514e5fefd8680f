// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// rotateDue rotates the managed roles that are due.
func (rt *Rotations) rotateDue(tick, begin context.Context) error {
	due, err := rt.mount.DueRoles.Due(begin, rt.mount.Now(), state.DueSource{
		List: func(ctx context.Context) ([]string, error) { return rt.mount.Roles.List(ctx) },
		Next: func(ctx context.Context, name string) (time.Time, error) {
			r, err := rt.mount.Rotation(ctx, name)
			if err != nil || r == nil {
				return time.Time{}, err
			}
			return r.NextAttempt(rt.mount.Now()), nil
		},
		Failed: func(name string, err error) {
			rt.mount.Log().Error("the next rotation of a role cannot be read", "role", name, "error", err)
		},
	})
	return errors.Join(err, rt.mount.UntilOver(begin, due, state.MaxConcurrentRotations, func(name string) error { return rt.rotateOnSchedule(tick, begin, name) }))
}

// rotateOnSchedule rotates a role if it is still due after its lock was taken. A failure is stored with the
// credential, and the worker tries again with back-off. If the role stays busy until the time is over, or the tick is
// canceled, that is no failure.
func (rt *Rotations) rotateOnSchedule(ctx, begin context.Context, name string) error {
	unlock, err := rt.mount.LockRole(begin, name)
	if err != nil {
		return nil // the role is busy, and due at the next tick too
	}
	defer unlock()
	rotation, err := rt.dueRotation(ctx, name)
	if err != nil || rotation == nil {
		return err
	}
	done, err := rt.rotateManaged(ctx, rotation, rotation.Role.GracePeriod)
	if err == nil {
		rt.publish(ctx, name, done)
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return rt.recordFailure(ctx, rotation, err)
}

// dueRotation returns the role if it is due, and nil if not. It first repairs impossible times.
func (rt *Rotations) dueRotation(ctx context.Context, name string) (*model.Rotation, error) {
	rotation, err := rt.mount.Rotation(ctx, name)
	if err != nil || rotation == nil {
		return nil, err
	}
	now := rt.mount.Now()
	if !rotation.NextAttempt(now).IsZero() && rotation.HasImpossibleTimes(now) {
		rotation = rotation.RepairTimes(now, rt.mount.Jitter)
		if err = rt.mount.Credentials.Put(ctx, name, rotation.Cred); err != nil {
			return nil, err
		}
	}
	if next := rotation.NextAttempt(now); next.IsZero() || next.After(now) || !rotation.Role.MayBegin(rotation.Cred, now) {
		return nil, nil //nolint:nilnil // a role that is not due is no error
	}
	return rotation, nil
}

// recordFailure logs a failed scheduled rotation, and stores it with the next attempt.
func (rt *Rotations) recordFailure(ctx context.Context, rotation *model.Rotation, why error) error {
	after := rotation.Cred.WithFailure(rt.mount.Now(), why, rt.mount.Jitter)
	rt.mount.Log().Warn("scheduled rotation failed", "role", rotation.Name, "version", rotation.Cred.Version, "attempts", after.Attempts,
		"next_attempt", after.NextAttempt, "error", why)
	rt.mount.Publish(ctx, rotation.FailureEvent())
	// If the rotation happened and only the answer was lost, store no failure.
	ctx = context.WithoutCancel(ctx)
	if cred, unknown := rt.mount.Credentials.Get(ctx, rotation.Name); unknown != nil || cred == nil || cred.ID != rotation.Cred.ID {
		return unknown
	}
	return rt.mount.Credentials.Put(ctx, rotation.Name, after)
}
