// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"
)

// rotateDue rotates the managed roles whose time has come.
func (b *backend) rotateDue(tick, begin context.Context) error {
	due, err := b.dueRoles.due(begin, b.now(), source{
		list: func(ctx context.Context) ([]string, error) { return b.roles.List(ctx) },
		next: func(ctx context.Context, name string) (time.Time, error) {
			r, err := b.rotation(ctx, name)
			if err != nil || r == nil {
				return time.Time{}, err
			}
			return r.nextAttempt(b.now()), nil
		},
		failed: func(name string, err error) {
			b.log().Error("cannot tell when a role is due", "role", name, "error", err)
		},
	})
	return errors.Join(err, b.untilOver(begin, due, func(name string) error { return b.rotateOnSchedule(tick, begin, name) }))
}

// rotateOnSchedule rotates a role if it is still due once its lock is held. A failure is stored with
// the credential and tried again with back-off. A role that is busy until no time is left, and a tick
// that is broken off, are no failures.
func (b *backend) rotateOnSchedule(ctx, begin context.Context, name string) error {
	unlock, err := b.lockRole(begin, name)
	if err != nil {
		return nil //nolint:nilerr // the role is due at the next tick too
	}
	defer unlock()
	now, err := b.dueRotation(ctx, name)
	if err != nil || now == nil {
		return err
	}
	done, err := b.rotateManaged(ctx, now, now.role.GracePeriod)
	if err == nil {
		b.announce(ctx, name, "", done)
		return nil
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return nil
	}
	return b.noteFailure(ctx, now, err)
}

// dueRotation is the role, if it is due, with times that can be right.
func (b *backend) dueRotation(ctx context.Context, name string) (*rotation, error) {
	now, err := b.rotation(ctx, name)
	if err != nil || now == nil {
		return nil, err
	}
	if next := now.nextAttempt(b.now()); !next.IsZero() && now.misdated(b.now()) {
		cred := now.cred.redated(now.role, b.now())
		if err = b.credentials.Put(ctx, name, cred); err != nil {
			return nil, err
		}
		now = newRotation(name, now.role, cred, b.now())
	}
	if next := now.nextAttempt(b.now()); next.IsZero() || next.After(b.now()) || !now.role.mayBegin(now.cred, b.now()) {
		return nil, nil //nolint:nilnil // not due is nothing, and no error
	}
	return now, nil
}

func (b *backend) noteFailure(ctx context.Context, now *rotation, why error) error {
	after := now.cred.failed(b.now(), why)
	b.log().Warn("scheduled rotation failed", "role", now.name, "version", now.cred.Version, "attempts", after.Attempts,
		"next_attempt", after.NextAttempt, "error", why)
	b.event(ctx, eventRotateFail, change{
		path: prefixRotate + now.name, dataPath: prefixCreds + now.name, role: now.name, version: now.cred.Version, tokenID: now.cred.ID,
	})
	// The rotation may have happened and only its answer be lost: then there is nothing to note.
	ctx = context.WithoutCancel(ctx)
	if cred, unknown := b.credentials.Get(ctx, now.name); unknown != nil || cred == nil || cred.ID != now.cred.ID {
		return unknown
	}
	return b.credentials.Put(ctx, now.name, after)
}

// rotateManaged replaces the role's service user by a new one. When the caller gives up before the new
// token is proven, it is undone through the ledger; after that it is finished. The caller holds the
// role's lock.
func (b *backend) rotateManaged(ctx context.Context, now *rotation, grace time.Duration) (*turnover, error) {
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	stays := fmt.Sprintf("the current token (version %d) stays", now.cred.Version)
	if err = cfg.reaches(now.cred.Token); err != nil {
		return nil, fmt.Errorf("%w; %s", err, stays)
	}
	made, err := b.mint(ctx, cfg, now.name, now.role)
	if err != nil {
		return nil, fmt.Errorf("%w; %s", err, stays)
	}
	ctx = context.WithoutCancel(ctx)
	done, err := b.replace(ctx, now, made.Token, reasonRotated, grace)
	if err != nil {
		return nil, err
	}
	b.leaveLedger(ctx, made.entry.key())
	done.warnings = slices.Concat(made.warnings, done.warnings)
	return done, nil
}
