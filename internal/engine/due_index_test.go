// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/state"
)

func TestDueIndex_RemovesDeletedRolesAlsoAfterTheClockWentBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, name := range []string{"a", "b", "c"} {
		h.managed(name)
	}
	h.advance(2 * time.Hour)
	h.tick()
	h.advance(-time.Hour)
	for _, name := range []string{"a", "b"} {
		_, err := h.engine.Roles.Delete(t.Context(), name, true)
		require.NoError(t, err)
	}
	h.minutes(3)
	h.requireDue(h.engine.Mount.DueRoles, 1, 0)
	h.requireDue(h.engine.Mount.DueRevocations, 0, 0)
}

func TestDueIndex_DoesNotGrowOnANodeWithoutTicks(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for i := range 1000 {
		h.engine.Mount.Invalidate(fmt.Sprintf("%srole-%d", state.PrefixRoles, i))
		h.engine.Mount.Invalidate(fmt.Sprintf("%sak-%d", state.PrefixRevocations, i))
	}
	h.requireDue(h.engine.Mount.DueRoles, 0, 0)
	h.requireDue(h.engine.Mount.DueRevocations, 0, 0)
	h.tick() // it was the active node for a while
	for i := range state.MaxChanged + 10 {
		h.engine.Mount.DueRoles.Touch(fmt.Sprintf("role-%d", i))
	}
	_, changed := h.engine.Mount.DueRoles.Len()
	require.Less(t, changed, state.MaxChanged)
	h.static("ci")
	h.tick()
	_, changed = h.engine.Mount.DueRoles.Len()
	require.Zero(t, changed)
}

func (h *harness) requireDue(index *state.DueTimes, due, changed int) {
	h.t.Helper()
	gotDue, gotChanged := index.Len()
	require.Equal(h.t, due, gotDue, "names with a due time")
	require.Equal(h.t, changed, gotChanged, "names to look up again")
}
