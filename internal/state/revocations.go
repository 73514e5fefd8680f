// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"fmt"
	"slices"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/store"
)

// FindRevocation finds a revocation by its token's ID or its service user's name. It returns nil if no revocation that
// it can read matches. doubt then says that some revocations cannot be read, or is empty.
func (m *Mount) FindRevocation(ctx context.Context, id string) (found *model.Revocation, doubt string, err error) {
	found, err = m.Revocations.Get(ctx, id)
	if err != nil || found != nil {
		return found, "", err
	}
	entries, unreadable, err := m.AllRevocations(ctx)
	if err != nil {
		return nil, "", err
	}
	for _, entry := range entries {
		if entry.ID == id || entry.ServiceUserName() == id {
			return entry, "", nil
		}
	}
	if len(unreadable) > 0 {
		doubt = fmt.Sprintf("%d revocations cannot be read, and one of them may be this token's; to see why: %s", len(unreadable), m.Commands().ReadRevocation(unreadable[0]))
	}
	return nil, doubt, nil
}

// AllRevocations returns all revocations, the earliest due first. Damaged entries and entries of a newer version are
// left out, and their IDs returned as unreadable. If storage fails, no revocation counts as missing: AllRevocations
// returns the error.
func (m *Mount) AllRevocations(ctx context.Context) (entries []*model.Revocation, unreadable []string, err error) {
	ids, err := m.Revocations.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	entries, unreadable, err = m.RevocationsNamed(ctx, ids)
	slices.SortStableFunc(entries, func(x, y *model.Revocation) int { return x.NextAttempt.Compare(y.NextAttempt) })
	return entries, unreadable, err
}

// RevocationsNamed returns the revocations with these IDs, in the order of the IDs, and otherwise does what
// AllRevocations does.
func (m *Mount) RevocationsNamed(ctx context.Context, ids []string) (entries []*model.Revocation, unreadable []string, err error) {
	all, failures := make([]*model.Revocation, len(ids)), make([]error, len(ids))
	EachOf(ids, MaxConcurrentReads, func(i int, id string) { all[i], failures[i] = m.Revocations.Get(ctx, id) })
	for i, failed := range failures {
		if failed != nil && !store.IsUnreadable(failed) {
			return nil, nil, failed
		}
		if failed != nil {
			m.Log().Error("a revocation cannot be read", "id", ids[i], "error", failed)
			unreadable = append(unreadable, ids[i])
		}
	}
	return slices.DeleteFunc(all, func(entry *model.Revocation) bool { return entry == nil }), unreadable, nil
}

// RevocationsOf returns the readable revocations of a role, including the leases of a dynamic role. It leaves out
// those of deleted roles with the same name, unless the role itself does not exist.
func (m *Mount) RevocationsOf(ctx context.Context, name string) ([]*model.Revocation, error) {
	r, err := m.Roles.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	entries, _, err := m.AllRevocations(ctx)
	return slices.DeleteFunc(entries, func(entry *model.Revocation) bool {
		return entry.Role != name || (r != nil && !entry.IsOfGeneration(r))
	}), err
}

// LeasesOf returns the revocations of a role's leases, including leases that a read is still creating.
func (m *Mount) LeasesOf(ctx context.Context, name string) ([]*model.Revocation, error) {
	entries, err := m.RevocationsOf(ctx, name)
	return slices.DeleteFunc(entries, func(entry *model.Revocation) bool { return !entry.Leased }), err
}

// PreviousTokens returns the revocations of tokens that were, or may have become, a role's current token. It leaves
// out leases.
func (m *Mount) PreviousTokens(ctx context.Context, name string) ([]*model.Revocation, error) {
	entries, err := m.RevocationsOf(ctx, name)
	return slices.DeleteFunc(entries, func(entry *model.Revocation) bool { return entry.Leased }), err
}
