// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// NextStep tells an operator what to do after a write of a role.
func (rs *Roles) NextStep(ctx context.Context, r *model.Rotation) string {
	read := "read the token with: " + rs.mount.Commands().ReadToken(r.Name)
	switch {
	case r.Role.Dynamic != nil:
		return rs.afterDynamic(r.Name)
	case r.HasNoToken():
		return "give the role its first token: an operator " + rs.mount.FirstToken(r.Name)
	case r.Role.Managed == nil:
		return fmt.Sprintf("%s; bring the next token by %s with: %s", read, r.Next.Format(time.RFC3339), rs.mount.Commands().ReplaceToken(r.Role, r.Name))
	case r.Role.Managed.Disabled:
		return fmt.Sprintf("%s; rotate the role by %s with: %s", read, r.Next.Format(time.RFC3339), rs.mount.Commands().ReplaceToken(r.Role, r.Name))
	}
	return rs.mount.NotePaused(ctx, read+"; the engine rotates the role at next_rotation")
}

// WrittenRole is a role after a write, with warnings for the operator.
type WrittenRole struct {
	Role     *model.Role
	Rotation *model.Rotation
	Warnings []string
}

// Read returns a role's settings. It returns nil if the role does not exist.
func (rs *Roles) Read(ctx context.Context, name string) (*model.Role, error) {
	return rs.mount.Roles.Get(ctx, name)
}

// Write creates a role with its first token, or changes its settings.
func (rs *Roles) Write(ctx context.Context, ask model.RoleWrite) (*WrittenRole, error) {
	name := ask.Name
	unlock, err := rs.mount.LockRole(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	before, err := rs.mount.Roles.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if err = ask.Expect.Check("role "+name, before != nil); err != nil {
		return nil, err
	}
	had, err := rs.mount.Credentials.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	var done *WrittenRole
	if before == nil {
		done, err = rs.create(ctx, ask)
	} else {
		done, err = rs.update(ctx, before, ask)
	}
	if err != nil {
		return nil, err
	}
	if done.Rotation, err = rs.mount.RotationOf(ctx, name, done.Role); err != nil {
		return nil, err
	}
	rs.publishWrite(ctx, before, had, done)
	return done, nil
}

// publishWrite logs a changed role and its new token, and sends the event. It adds warnings about the new token's
// service user.
func (rs *Roles) publishWrite(ctx context.Context, before *model.Role, had *model.Credential, done *WrittenRole) {
	rotation := done.Rotation
	brought := !rotation.HasNoToken() && (had == nil || had.ID != rotation.Cred.ID || had.Verified() != rotation.Cred.Verified())
	if before != nil && !brought && reflect.DeepEqual(before, done.Role) {
		return
	}
	if brought {
		done.Warnings = append(done.Warnings, rotation.Cred.OtherMountWarnings(rotation.Role)...)
	}
	event := model.Event{Kind: model.EventRoleWrite, Modified: true, Role: rotation.Name}
	pairs := append([]any{"role", rotation.Name, "created", before == nil}, done.Role.LogChanges(before)...)
	if brought {
		event.Version, event.TokenID, event.Account = rotation.Cred.Version, rotation.Cred.ID, rotation.Cred.Account()
		pairs = append(append(pairs, "version", event.Version, "token_id", event.TokenID), event.Account.LogPairs("")...)
	}
	rs.mount.Log().Info("role written", pairs...)
	rs.mount.Publish(ctx, event)
}

// create stores the first token and then the role. A role exists once its entry under role/ exists.
func (rs *Roles) create(ctx context.Context, ask model.RoleWrite) (*WrittenRole, error) {
	r, err := model.NewRole(rs.mount.NewGenerationID()).Merge(ask)
	if err != nil {
		return nil, err
	}
	var warnings []string
	switch r.Type {
	case model.TypeManaged:
		warnings, err = rs.createManaged(ctx, r, ask)
	case model.TypeDynamic:
		warnings, err = rs.writeDynamic(ctx, nil, r, ask)
	default:
		warnings, err = rs.createStatic(ctx, r, ask)
	}
	if err != nil {
		return nil, err
	}
	return &WrittenRole{Role: r, Warnings: slices.Concat(warnings, r.Warnings())}, nil
}

// establish stores a new role with its first token.
func (rs *Roles) establish(ctx context.Context, name string, r *model.Role, first model.Token) error {
	cred := model.NewCredential(r, first, rs.mount.Now(), rs.mount.Jitter)
	return rs.owners.Assign(ctx, first, name, func() error {
		if err := rs.mount.Credentials.Put(ctx, name, cred); err != nil {
			return err
		}
		return rs.mount.Roles.Put(ctx, name, r)
	})
}

func (rs *Roles) update(ctx context.Context, before *model.Role, ask model.RoleWrite) (*WrittenRole, error) {
	after, err := before.Merge(ask)
	if err != nil {
		return nil, err
	}
	var warnings []string
	switch after.Type {
	case model.TypeManaged:
		warnings, err = rs.updateManaged(ctx, before, after, ask)
	case model.TypeDynamic:
		warnings, err = rs.writeDynamic(ctx, before, after, ask)
	default:
		warnings, err = rs.updateStatic(ctx, before, after, ask)
	}
	if err != nil {
		return nil, err
	}
	return &WrittenRole{Role: after, Warnings: slices.Concat(after.Warnings(), warnings)}, nil
}
