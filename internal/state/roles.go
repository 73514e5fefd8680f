// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"fmt"
	"slices"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/suggest"
)

// Current is a role and its token, or nil and nil for a role that does not exist or has none yet: what a
// half-finished delete left behind is nobody's current token.
func (m *Mount) Current(ctx context.Context, name string) (*model.Role, *model.Credential, error) {
	if name == "" { // config's
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

// Credential is what is stored of a role's token, current or not; nil for config's.
func (m *Mount) Credential(ctx context.Context, name string) (*model.Credential, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // no credential is no failure
	}
	return m.Credentials.Get(ctx, name)
}

// CheckNotDynamic refuses an operation on a current token, which a dynamic role does not have.
func (m *Mount) CheckNotDynamic(r *model.Role, name string) error {
	if r.Dynamic == nil {
		return nil
	}
	return model.UserErrorf("role %s is dynamic, so each read of %screds/%s has a token of its own, which ends with its lease: end leases with: %s; nothing was changed",
		name, m.Path(), name, m.Commands().RevokeLeases(name))
}

// NoSuchRole says that no role has a name. It names the role that was probably meant, or else the list and the
// text in otherwise. A reader who may not list learns one name, and could learn as much by reading that name.
func (m *Mount) NoSuchRole(ctx context.Context, name, otherwise string) string {
	names, err := m.Roles.List(ctx)
	if err != nil {
		names = nil // the answer is the same without a suggestion
	}
	if meant := suggest.Nearest(name, names, max(1, min(2, len(name)/3))); meant != "" {
		return fmt.Sprintf("no role is named %s: did you mean %s?", name, meant)
	}
	return fmt.Sprintf("no role is named %s: %s names every role%s", name, m.Commands().List("roles"), otherwise)
}

// RotationOf is how a role stands, also without a token.
func (m *Mount) RotationOf(ctx context.Context, name string, r *model.Role) (*model.Rotation, error) {
	cred, err := m.Credentials.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	return model.NewRotation(name, r, cred, m.Now()), nil
}

// RotationWithPrevious is how a role stands and its previous tokens; nil for a role that does not exist.
func (m *Mount) RotationWithPrevious(ctx context.Context, name string) (*model.Rotation, []*model.Revocation, error) {
	r, err := m.Rotation(ctx, name)
	if err != nil || r == nil {
		return nil, nil, err
	}
	previous, err := m.PreviousTokens(ctx, name)
	return r, previous, err
}

// Rotation is nil for a role that does not exist.
func (m *Mount) Rotation(ctx context.Context, name string) (*model.Rotation, error) {
	r, err := m.Roles.Get(ctx, name)
	if err != nil || r == nil {
		return nil, err
	}
	return m.RotationOf(ctx, name, r)
}

// Rotations are all roles that can be read, by name, and the names of the others.
func (m *Mount) Rotations(ctx context.Context) (all []*model.Rotation, unreadable []string, err error) {
	names, err := m.Roles.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, failures := make([]*model.Rotation, len(names)), make([]error, len(names))
	EachOf(names, MaxConcurrentReads, func(i int, name string) { all[i], failures[i] = m.Rotation(ctx, name) })
	for i, failed := range failures {
		if failed != nil {
			m.Log().Error("a role cannot be read", "role", names[i], "error", failed)
			unreadable = append(unreadable, names[i])
		}
	}
	return slices.DeleteFunc(all, func(r *model.Rotation) bool { return r == nil }), unreadable, nil
}
