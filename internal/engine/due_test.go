// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTheIndexForgetsDeletedRolesAlsoAfterTheClockWentBack(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, name := range []string{"a", "b", "c"} {
		h.managed(name)
	}
	h.advance(2 * time.Hour)
	h.tick()
	h.advance(-time.Hour)
	for _, name := range []string{"a", "b"} {
		_, err := h.engine.DeleteRole(t.Context(), name, true)
		require.NoError(t, err)
	}
	h.minutes(3)
	require.Equal(t, []string{"c"}, slices.Collect(maps.Keys(h.engine.dueRoles.next)))
	require.Empty(t, h.engine.dueRoles.changed)
	require.Empty(t, h.engine.dueEntries.next)
	require.Empty(t, h.engine.dueEntries.changed)
}

func TestTheIndexDoesNotGrowOnANodeThatNeverTicks(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for i := range 1000 {
		h.engine.Invalidate(fmt.Sprintf("%srole-%d", prefixRole, i))
		h.engine.Invalidate(fmt.Sprintf("%sak-%d", prefixRevocation, i))
	}
	require.Empty(t, h.engine.dueRoles.changed)
	require.Empty(t, h.engine.dueEntries.changed)
	h.tick() // it was the active one for a while
	for i := range maxChanged + 10 {
		h.engine.dueRoles.touch(fmt.Sprintf("role-%d", i))
	}
	require.Less(t, len(h.engine.dueRoles.changed), maxChanged)
	h.static("ci")
	h.tick()
	require.Empty(t, h.engine.dueRoles.changed)
}
