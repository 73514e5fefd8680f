// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"fmt"
	"slices"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/suggest"
)

// Current returns a role and its current token, or nil and nil if the role does not exist or has no token. It ignores
// a credential that an unfinished delete of the role left behind.
func (m *Mount) Current(ctx context.Context, name string) (*model.Role, *model.Credential, error) {
	if name == "" { // config
		return nil, nil, nil
	}
	r, err := m.Roles.Get(ctx, name)
	if err != nil || r == nil {
		return nil, nil, err
	}
	cred, err := m.Credentials.Get(ctx, name)
	if err != nil || cred == nil {
		return nil, nil, err
	}
	return r, cred, nil
}

// Credential returns the stored credential of a role, even if the role does not exist any more. It returns nil for
// config.
func (m *Mount) Credential(ctx context.Context, name string) (*model.Credential, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // no credential is no failure
	}
	return m.Credentials.Get(ctx, name)
}

// CheckNotDynamic refuses a dynamic role, which has no current token to work on.
func (m *Mount) CheckNotDynamic(r *model.Role, name string) error {
	if r.Dynamic == nil {
		return nil
	}
	return model.UserErrorf("role %s is dynamic, so each read of %screds/%s creates a token of its own, which ends with its lease: revoke the leases with: %s; nothing was changed",
		name, m.Path(), name, m.Commands().RevokeLeases(name))
}

// NoSuchRole says that no role has this name. It suggests the most similar name, or else the list of roles and the
// text in otherwise. A caller who may not list roles can so learn a role's name. The caller could learn the same by
// reading that role.
func (m *Mount) NoSuchRole(ctx context.Context, name, otherwise string) string {
	names, err := m.Roles.List(ctx)
	if err != nil {
		names = nil // the answer is the same without a suggestion
	}
	if question := suggest.DidYouMean(name, names, suggest.Spelling); question != "" {
		return fmt.Sprintf("no role is named %s: %s", name, question)
	}
	return fmt.Sprintf("no role is named %s: %s names every role%s", name, m.Commands().ListRoles(), otherwise)
}

// RotationOf returns the rotation state of a role, also of a role without a token.
func (m *Mount) RotationOf(ctx context.Context, name string, r *model.Role) (*model.Rotation, error) {
	cred, err := m.Credentials.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return model.NewRotation(name, r, cred, m.Now()), nil
}

// RotationWithPrevious returns the rotation state of a role, and its previous tokens. The state is nil if the role
// does not exist.
func (m *Mount) RotationWithPrevious(ctx context.Context, name string) (*model.Rotation, []*model.Revocation, error) {
	r, err := m.Rotation(ctx, name)
	if err != nil || r == nil {
		return nil, nil, err
	}
	previous, err := m.PreviousTokens(ctx, name)
	return r, previous, err
}

// Rotation returns the rotation state of a role, or nil if the role does not exist.
func (m *Mount) Rotation(ctx context.Context, name string) (*model.Rotation, error) {
	r, err := m.Roles.Get(ctx, name)
	if err != nil || r == nil {
		return nil, err
	}
	return m.RotationOf(ctx, name, r)
}

// Rotations returns the rotation states of all readable roles, sorted by name, and the names of the unreadable ones.
func (m *Mount) Rotations(ctx context.Context) (all []*model.Rotation, unreadable []string, err error) {
	names, err := m.Roles.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, unreadable = m.RotationsNamed(ctx, names)
	return all, unreadable, nil
}

// RotationsNamed returns the rotation states of the named roles that exist and are readable, in the order of the names,
// and the names of the unreadable ones.
func (m *Mount) RotationsNamed(ctx context.Context, names []string) (all []*model.Rotation, unreadable []string) {
	all, failures := make([]*model.Rotation, len(names)), make([]error, len(names))
	EachOf(names, MaxConcurrentReads, func(i int, name string) { all[i], failures[i] = m.Rotation(ctx, name) })
	for i, failed := range failures {
		if failed != nil {
			m.Log().Error("a role cannot be read", "role", names[i], "error", failed)
			unreadable = append(unreadable, names[i])
		}
	}
	return slices.DeleteFunc(all, func(r *model.Rotation) bool { return r == nil }), unreadable
}
