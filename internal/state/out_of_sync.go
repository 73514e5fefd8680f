// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"time"
)

// OutOfSync is what is stored of the comparison with Modal: since when the mount is out of sync, zero while it is
// in sync, and which orphans an operator has accepted.
type OutOfSync struct {
	Since    time.Time `json:"since,omitzero"`
	Accepted []string  `json:"accepted,omitempty"`
}

// IsOutOfSync reports whether the mount deletes nothing by itself, as the last comparison found.
func (m *Mount) IsOutOfSync(ctx context.Context) (bool, error) {
	stored, err := m.OutOfSync.Get(ctx, "")
	return stored != nil && !stored.Since.IsZero(), err
}
