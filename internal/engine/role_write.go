// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"reflect"
	"slices"
)

// RoleWritten is a role after a write, and what an operator should know of it.
type RoleWritten struct {
	Role     *Role
	Rotation *Rotation
	Warnings []string
}

// Role is a role's policy, nil for none.
func (e *Engine) Role(ctx context.Context, name string) (*Role, error) { return e.roles.Get(ctx, name) }

// WriteRole creates a role with its first token, or changes its policy.
func (e *Engine) WriteRole(ctx context.Context, ask RoleWrite) (*RoleWritten, error) {
	name := ask.Name
	unlock, err := e.lockRole(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	before, err := e.roles.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if err = ask.Expect.refuse("role "+name, before != nil); err != nil {
		return nil, err
	}
	had, err := e.credentials.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	var done *RoleWritten
	if before == nil {
		done, err = e.createRole(ctx, ask)
	} else {
		done, err = e.updateRole(ctx, before, ask)
	}
	if err != nil {
		return nil, err
	}
	if done.Rotation, err = e.standing(ctx, name, done.Role); err != nil {
		return nil, err
	}
	e.tellWritten(ctx, before, had, done)
	return done, nil
}

// tellWritten tells the log and whoever listens of a role that changed, and whose token it got. It warns of what
// such a token is not for.
func (e *Engine) tellWritten(ctx context.Context, before *Role, had *Credential, done *RoleWritten) {
	now := done.Rotation
	brought := !now.empty() && (had == nil || had.ID != now.Cred.ID || had.Verified() != now.Cred.Verified())
	if before != nil && !brought && reflect.DeepEqual(before, done.Role) {
		return
	}
	if brought {
		done.Warnings = append(done.Warnings, now.Cred.oneMount(now.Role)...)
	}
	event := Event{Kind: EventRoleWrite, Modified: true, Role: now.Name}
	pairs := append([]any{"role", now.Name, "created", before == nil}, done.Role.privileges(before)...)
	if brought {
		event.Version, event.TokenID, event.Account = now.Cred.Version, now.Cred.ID, now.Cred.Account()
		pairs = append(append(pairs, "version", event.Version, "token_id", event.TokenID), event.Account.logged("")...)
	}
	e.log().Info("role written", pairs...)
	e.event(ctx, event)
}

// standing is how a role stands, also without a token.
func (e *Engine) standing(ctx context.Context, name string, r *Role) (*Rotation, error) {
	cred, err := e.credentials.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return newRotation(name, r, cred, e.Now()), nil
}

// createRole stores the first token and then the role: a role exists once its own entry does.
func (e *Engine) createRole(ctx context.Context, ask RoleWrite) (*RoleWritten, error) {
	r, err := newRole().merge(ask)
	if err != nil {
		return nil, err
	}
	var warnings []string
	switch r.Type {
	case TypeManaged:
		warnings, err = e.createManaged(ctx, r, ask)
	case TypeDynamic:
		warnings, err = e.writeDynamic(ctx, nil, r, ask)
	default:
		warnings, err = e.createStatic(ctx, r, ask)
	}
	if err != nil {
		return nil, err
	}
	return &RoleWritten{Role: r, Warnings: slices.Concat(warnings, r.warnings())}, nil
}

// establish stores a new role with its first token.
func (e *Engine) establish(ctx context.Context, name string, r *Role, first Token) error {
	cred := newCredential(r, first, e.Now())
	return e.hold(ctx, first, name, func() error {
		if err := e.credentials.Put(ctx, name, cred); err != nil {
			return err
		}
		return e.roles.Put(ctx, name, r)
	})
}

func (e *Engine) updateRole(ctx context.Context, before *Role, ask RoleWrite) (*RoleWritten, error) {
	after, err := before.merge(ask)
	if err != nil {
		return nil, err
	}
	var warnings []string
	switch after.Type {
	case TypeManaged:
		warnings, err = e.updateManaged(ctx, before, after, ask)
	case TypeDynamic:
		warnings, err = e.writeDynamic(ctx, before, after, ask)
	default:
		warnings, err = e.updateStatic(ctx, before, after, ask)
	}
	if err != nil {
		return nil, err
	}
	return &RoleWritten{Role: after, Warnings: slices.Concat(after.warnings(), warnings)}, nil
}
