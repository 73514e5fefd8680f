// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// rotateDue rotates the managed roles whose time has come.
func (e *Engine) rotateDue(tick, begin context.Context) error {
	due, err := e.dueRoles.due(begin, e.Now(), source{
		list: func(ctx context.Context) ([]string, error) { return e.roles.List(ctx) },
		next: func(ctx context.Context, name string) (time.Time, error) {
			r, err := e.rotation(ctx, name)
			if err != nil || r == nil {
				return time.Time{}, err
			}
			return r.nextAttempt(e.Now()), nil
		},
		failed: func(name string, err error) {
			e.log().Error("cannot tell when a role is due", "role", name, "error", err)
		},
	})
	return errors.Join(err, e.untilOver(begin, due, maxConcurrentRotations, func(name string) error { return e.rotateOnSchedule(tick, begin, name) }))
}

// rotateOnSchedule rotates a role if it is still due once its lock is held. A failure is stored with
// the credential and tried again with back-off. A role that is busy until no time is left, and a tick
// that is broken off, are no failures.
func (e *Engine) rotateOnSchedule(ctx, begin context.Context, name string) error {
	unlock, err := e.lockRole(begin, name)
	if err != nil {
		return nil // the role is busy, and due at the next tick too
	}
	defer unlock()
	now, err := e.dueRotation(ctx, name)
	if err != nil || now == nil {
		return err
	}
	done, err := e.rotateManaged(ctx, now, now.Role.GracePeriod)
	if err == nil {
		e.announce(ctx, name, done)
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return e.noteFailure(ctx, now, err)
}

// dueRotation is the role, if it is due, with times that can be right.
func (e *Engine) dueRotation(ctx context.Context, name string) (*Rotation, error) {
	now, err := e.rotation(ctx, name)
	if err != nil || now == nil {
		return nil, err
	}
	if next := now.nextAttempt(e.Now()); !next.IsZero() && now.misdated(e.Now()) {
		cred := now.Cred.redated(now.Role, e.Now())
		if err = e.credentials.Put(ctx, name, cred); err != nil {
			return nil, err
		}
		now = newRotation(name, now.Role, cred, e.Now())
	}
	if next := now.nextAttempt(e.Now()); next.IsZero() || next.After(e.Now()) || !now.Role.mayBegin(now.Cred, e.Now()) {
		return nil, nil //nolint:nilnil // not due is nothing, and no error
	}
	return now, nil
}

func (e *Engine) noteFailure(ctx context.Context, now *Rotation, why error) error {
	after := now.Cred.failed(e.Now(), why)
	e.log().Warn("scheduled rotation failed", "role", now.Name, "version", now.Cred.Version, "attempts", after.Attempts,
		"next_attempt", after.NextAttempt, "error", why)
	e.event(ctx, now.failure())
	// The rotation may have happened and only its answer be lost: then there is nothing to note.
	ctx = context.WithoutCancel(ctx)
	if cred, unknown := e.credentials.Get(ctx, now.Name); unknown != nil || cred == nil || cred.ID != now.Cred.ID {
		return unknown
	}
	return e.credentials.Put(ctx, now.Name, after)
}

// rotateManaged replaces the role's service user by a new one. When the caller gives up before the new
// token is proven, it is undone through the ledger; after that it is finished. The caller holds the
// role's lock.
func (e *Engine) rotateManaged(ctx context.Context, now *Rotation, grace time.Duration) (*Turnover, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	stays := fmt.Sprintf("the current token (version %d) stays; once that is mended: vault write -f %srotate/%s", now.Cred.Version, e.mount(), now.Name)
	if err = e.reaches(cfg, now.Cred.Token); err != nil {
		return nil, fmt.Errorf("%w; %s", err, stays)
	}
	made, err := e.mint(ctx, cfg, orderFor(now.Role, now.Name))
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, stays)
	}
	ctx = context.WithoutCancel(ctx)
	done, err := e.replace(ctx, now, made.Token, reasonRotated, grace)
	if err != nil {
		return nil, err
	}
	e.leaveLedger(ctx, made.entry.Key())
	done.Warnings = slices.Concat(made.warnings, done.Warnings)
	return done, nil
}
