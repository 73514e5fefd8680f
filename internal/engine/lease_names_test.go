// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Leases outlive their role, and its name may be another role's by then.

func TestLease_EndsAlthoughItsRolesNameIsAnotherRolesWhoseTokenModalRefuses(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	lease := h.lease("job")
	h.deleteRole("job")
	h.modal.SetDisabled(h.static("job").ID, true)
	require.NoError(t, h.engine.EndLease(t.Context(), lease.Entry))
	require.False(t, h.alive(lease.Cred.ID))
}
