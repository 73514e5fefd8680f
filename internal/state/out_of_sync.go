// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"time"
)

// OutOfSync is the stored result of the comparison with Modal.
type OutOfSync struct {
	// Since is since when the mount is out of sync. It is zero while the mount is in sync.
	Since time.Time `json:"since,omitzero"`
	// Accepted lists the orphans that an operator has accepted.
	Accepted []string `json:"accepted,omitempty"`
}

// IsOutOfSync reports whether the last comparison found the mount out of sync. The engine then deletes nothing by
// itself.
func (m *Mount) IsOutOfSync(ctx context.Context) (bool, error) {
	stored, err := m.OutOfSync.Get(ctx, "")
	return stored != nil && !stored.Since.IsZero(), err
}
