// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDueTimes_ReturnTheLongestWaitingFirst(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	next := map[string]time.Time{
		"a": now.Add(-time.Minute), "b": now.Add(-time.Hour), "c": now.Add(time.Minute), "d": now.Add(-time.Hour), "e": now, "never": {},
	}

	due, err := NewDueTimes().Due(t.Context(), now, DueSource{
		List:   func(context.Context) ([]string, error) { return slices.Collect(maps.Keys(next)), nil },
		Next:   func(_ context.Context, name string) (time.Time, error) { return next[name], nil },
		Failed: func(name string, err error) { t.Errorf("%s: %v", name, err) },
	})

	require.NoError(t, err)
	require.Equal(t, []string{"b", "d", "a", "e"}, due)
}
