// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
)

// Rotate replaces a role's current token.
func (e *Engine) Rotate(ctx context.Context, ask RotateRequest) (*Turnover, error) {
	now, unlock, err := e.rotatable(ctx, ask)
	if err != nil {
		return nil, err
	}
	defer unlock()
	done, err := e.rotateLocked(ctx, now, ask)
	if err != nil && !IsMistake(err) {
		e.log().Warn("rotation failed", "role", now.Name, "version", now.Cred.Version, "error", err)
		e.event(ctx, now.failure())
	}
	return done, err
}

// rotatable is a role that can be rotated as it is asked for, with its lock held.
func (e *Engine) rotatable(ctx context.Context, ask RotateRequest) (now *Rotation, unlock func(), err error) {
	if unlock, err = e.lockRole(ctx, ask.Role); err != nil {
		return nil, nil, err
	}
	now, err = e.rotation(ctx, ask.Role)
	switch {
	case err != nil:
	case now == nil:
		err = Refusef("%s", e.NoSuchRole(ctx, ask.Role, fmt.Sprintf("; create it with: %s, or type=%s token_id=… token_secret=-",
			e.Commands().Write("roles/"+ask.Role, "type="+TypeManaged, "environment_roles=main=contributor"), TypeStatic)))
	case now.Role.Dynamic != nil:
		err = e.refuseDynamic(now.Role, ask.Role)
	case now.Role.Type == TypeManaged:
		err = ask.refuseForManaged()
	}
	if err != nil {
		unlock()
		return nil, nil, err
	}
	return now, unlock, nil
}

// rotateLocked picks the kind of rotation that was asked for. The caller holds the role's lock.
func (e *Engine) rotateLocked(ctx context.Context, now *Rotation, ask RotateRequest) (*Turnover, error) {
	grace := ask.graceOr(now.Role.GracePeriod)
	if err := e.refuseCrowd(ctx, now, ask); err != nil {
		return nil, err
	}
	var done *Turnover
	var err error
	switch {
	case ask.ToPrevious:
		done, err = e.undo(ctx, now, grace)
	case now.Role.Type == TypeManaged:
		done, err = e.rotateManaged(ctx, now, grace)
	default:
		done, err = e.rotateStatic(ctx, now, ask)
	}
	if err != nil {
		return nil, err
	}
	if done.Changed {
		e.announce(ctx, now.Name, done)
	}
	return done, nil
}

// failure is the event of a rotation that did not happen.
func (r *Rotation) failure() Event {
	return Event{Kind: EventRotateFail, Role: r.Name, Version: r.Cred.Version, TokenID: r.Cred.ID, Account: r.Cred.Account()}
}
