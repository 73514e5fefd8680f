// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// rotateDue rotates the managed roles whose time has come.
func (b *backend) rotateDue(tick, begin context.Context, s logical.Storage) error {
	due, err := b.dueRoles(tick, s)
	if err != nil {
		return err
	}
	return b.untilOver(begin, due, func(name string) error { return b.rotateOnSchedule(tick, s, name) })
}

// rotateOnSchedule rotates a role if it is still due once its lock is held. A failure is stored with
// the credential and tried again with back-off.
func (b *backend) rotateOnSchedule(ctx context.Context, s logical.Storage, name string) error {
	unlock, err := b.lockRole(ctx, name)
	if err != nil {
		return err
	}
	defer unlock()
	now, err := b.rotation(ctx, s, name)
	if err != nil || now == nil {
		return err
	}
	if next := now.nextAttempt(b.now()); !next.IsZero() && now.misdated(b.now()) {
		cred := now.cred.redated(now.role, b.now())
		if err = b.credentials.put(ctx, s, name, cred); err != nil {
			return err
		}
		now = newRotation(name, now.role, cred, b.now())
	}
	if next := now.nextAttempt(b.now()); next.IsZero() || next.After(b.now()) || !now.role.mayBegin(now.cred, b.now()) {
		return nil
	}
	done, err := b.rotateManaged(ctx, s, now, now.role.GracePeriod)
	if err == nil {
		b.announce(ctx, name, "", done)
		return nil
	}
	after := now.cred.failed(b.now(), err)
	b.Logger().Warn("scheduled rotation failed", "role", name, "version", now.cred.Version, "attempts", after.Attempts,
		"next_attempt", after.NextAttempt, "error", err)
	b.event(ctx, eventRotateFail, change{path: prefixRotate + name, dataPath: prefixCreds + name, role: name, version: now.cred.Version, tokenID: now.cred.ID})
	// The rotation may have happened and only its answer be lost: then there is nothing to note.
	ctx = context.WithoutCancel(ctx)
	if cred, unknown := b.credentials.get(ctx, s, name); unknown != nil || cred == nil || cred.ID != now.cred.ID {
		return unknown
	}
	return b.credentials.put(ctx, s, name, after)
}

// rotateManaged replaces the role's service user by a new one. When the caller gives up before the new
// token is proven, it is undone through the ledger; after that it is finished. The caller holds the
// role's lock.
func (b *backend) rotateManaged(ctx context.Context, s logical.Storage, now *rotation, grace time.Duration) (*turnover, error) {
	cfg, err := b.loadConfig(ctx, s)
	if err != nil {
		return nil, err
	}
	if err = cfg.reachesWorkspace(now.cred.token); err != nil {
		return nil, err
	}
	made, err := b.mint(ctx, s, cfg, now.name, now.role)
	if err != nil {
		return nil, fmt.Errorf("%w; the current token (version %d) stays", err, now.cred.Version)
	}
	done, err := b.replace(ctx, s, now, made.token, grace, made.warnings)
	if err != nil {
		return nil, err
	}
	b.finish(context.WithoutCancel(ctx), s, made.entry)
	return done, nil
}

// finish takes a token that became current out of the ledger. If that fails the worker does it.
func (b *backend) finish(ctx context.Context, s logical.Storage, id string) {
	if err := b.revocations.delete(ctx, s, id); err != nil {
		b.Logger().Warn("the entry of a token that is current is left to the worker", "id", id, "error", err)
	}
}
