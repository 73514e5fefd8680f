// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"slices"

	"vault-plugin-secrets-modal/internal/model"
)

// FindRevocation returns the revocation of a token's ID, or of a service user's name: nil for none.
func (m *Mount) FindRevocation(ctx context.Context, id string) (*model.Revocation, error) {
	entry, err := m.Queue.Get(ctx, id)
	if err != nil || entry != nil {
		return entry, err
	}
	entries, _, err := m.Revocations(ctx)
	if err != nil {
		return nil, err
	}
	for _, entry := range entries {
		if entry.ID == id || entry.ServiceUserName() == id {
			return entry, nil
		}
	}
	return nil, nil //nolint:nilnil // no revocation is no failure
}

// Revocations returns all entries that can be read, the one due first first, and the IDs of the others.
func (m *Mount) Revocations(ctx context.Context) (entries []*model.Revocation, unreadable []string, err error) {
	ids, err := m.Queue.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, failures := make([]*model.Revocation, len(ids)), make([]error, len(ids))
	EachOf(ids, MaxConcurrentReads, func(i int, id string) { all[i], failures[i] = m.Queue.Get(ctx, id) })
	for i, failed := range failures {
		if failed != nil {
			m.Log().Error("an entry of the ledger cannot be read", "id", ids[i], "error", failed)
			unreadable = append(unreadable, ids[i])
		}
	}
	entries = slices.DeleteFunc(all, func(entry *model.Revocation) bool { return entry == nil })
	slices.SortStableFunc(entries, func(x, y *model.Revocation) int { return x.NextAttempt.Compare(y.NextAttempt) })
	return entries, unreadable, nil
}

// RevocationsOf returns the revocations of one role that can be read, the leases of a dynamic role included. A role that
// does not exist has those of all deleted roles of its name; a role that exists has none of theirs.
func (m *Mount) RevocationsOf(ctx context.Context, name string) ([]*model.Revocation, error) {
	r, err := m.Roles.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	entries, _, err := m.Revocations(ctx)
	return slices.DeleteFunc(entries, func(entry *model.Revocation) bool {
		return entry.Role != name || (r != nil && !entry.IsOfGeneration(r))
	}), err
}

// LeasesOf returns the revocations of a role's leases, also of those that reads are creating.
func (m *Mount) LeasesOf(ctx context.Context, name string) ([]*model.Revocation, error) {
	entries, err := m.RevocationsOf(ctx, name)
	return slices.DeleteFunc(entries, func(entry *model.Revocation) bool { return !entry.Leased }), err
}

// PreviousTokens returns the revocations of tokens that were, or may have become, a role's current token. Leases are
// not among them.
func (m *Mount) PreviousTokens(ctx context.Context, name string) ([]*model.Revocation, error) {
	entries, err := m.RevocationsOf(ctx, name)
	return slices.DeleteFunc(entries, func(entry *model.Revocation) bool { return entry.Leased }), err
}
