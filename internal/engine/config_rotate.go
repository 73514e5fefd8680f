// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"slices"
	"time"
)

// AdminTurnover is a replaced admin token: the config that holds now, and the token that left it for the
// ledger, nil where none did. Changed says that the admin token is another one than before.
type AdminTurnover struct {
	Changed  bool
	Config   *Config
	Old      *Revocation
	Warnings []string
}

// RotateAdmin replaces the admin token by one that an operator brings and Modal accepts, and changes
// nothing else.
func (e *Engine) RotateAdmin(ctx context.Context, ask AdminRotation) (*AdminTurnover, error) {
	if ask.Pair == nil {
		return nil, Refusef("token_id and token_secret of the next admin token are missing: make one at %s, then: vault write %sconfig/rotate token_id=… token_secret=-; "+
			"or approve one in a browser: vault write -f %sconfig/approval; nothing was changed", tokensPage, e.mount(), e.mount())
	}
	unlock, err := e.lockConfig(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	before, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	if before.Admin != nil && before.Admin.pair() == *ask.Pair && before.State(e.Now()) == AdminOK {
		return &AdminTurnover{Config: before}, nil
	}
	proven, limitation, err := e.proveAdmin(ctx, before, *ask.Pair)
	if err != nil {
		return nil, err
	}
	done, err := e.replaceAdmin(ctx, before, proven, limitation, ask.Grace, ask.Force)
	if err != nil {
		return nil, err
	}
	done.Warnings = slices.Concat(ask.Warnings, done.Warnings)
	return done, nil
}

// replaceAdmin makes a proven token the admin's, where it may be. The caller holds config's lock.
func (e *Engine) replaceAdmin(ctx context.Context, before *Config, proven Token, limitation string, grace *time.Duration, force bool) (*AdminTurnover, error) {
	if err := e.refuseOutside(ctx, before, proven); err != nil {
		return nil, err
	}
	last, err := e.lastWorkspace(ctx, before)
	if err != nil {
		return nil, err
	}
	if err = before.refuseAdmin(last, proven, limitation, force); err != nil {
		return nil, err
	}
	after := *before
	after.takeAdmin(proven, limitation)
	old, err := e.storeConfig(ctx, before, &after, grace)
	if err != nil {
		return nil, err
	}
	return &AdminTurnover{
		Changed: true, Config: &after, Old: old, Warnings: slices.Concat(after.limits(), e.broken(ctx, before, &after)),
	}, nil
}

// refuseAdmin refuses a token under which the roles could not go on as they do, unless that is forced.
// The first admin token of a mount that knows no workspace may be anybody's.
func (c *Config) refuseAdmin(last knownWorkspace, next Token, limitation string, force bool) error {
	switch {
	case force || c.adminID() == next.ID:
		return nil
	case c.Admin != nil && !c.Admin.Verified():
		return Refusef("the admin token %s was stored without asking Modal, so nobody knows which workspace the next one has to be of: write force=true to take token %s of %s; nothing was changed",
			c.Admin.ID, next.ID, next.owner())
	case last.ID != "" && next.WorkspaceID != last.ID:
		return Refusef("token %s is of %s, and this mount's admin token is, or was, of %s: bring one of the same workspace, or write force=true to change it, which leaves the service users of that one to you; nothing was changed",
			next.ID, next.owner(), last)
	case c.Admin != nil && limitation != "" && c.Limitation == "":
		return Refusef("token %s of %s cannot manage service users, which managed roles need (%s): bring one of an owner or manager, or write force=true to take it all the same; nothing was changed",
			next.ID, next.owner(), limitation)
	}
	return nil
}
