// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"errors"
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

// names returns a source of names that are due at these times. Names listed in failing cannot be read.
func names(next map[string]time.Time, failing map[string]bool) DueSource {
	return DueSource{
		List: func(context.Context) ([]string, error) { return slices.Collect(maps.Keys(next)), nil },
		Next: func(_ context.Context, name string) (time.Time, error) {
			if failing[name] {
				return time.Time{}, errors.New("storage failed")
			}
			return next[name], nil
		},
		Failed: func(string, error) {},
	}
}

func TestDueTimes_AreReadAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	next := map[string]time.Time{"a": now, "b": now}
	for what, first := range map[string]func(index *DueTimes) ([]string, error){
		"the list": func(index *DueTimes) ([]string, error) {
			from := names(next, nil)
			from.List = func(context.Context) ([]string, error) { return nil, errors.New("storage failed") }
			return index.Due(t.Context(), now, from)
		},
		"a name": func(index *DueTimes) ([]string, error) {
			return index.Due(t.Context(), now, names(next, map[string]bool{"b": true}))
		},
		"out of time":  func(index *DueTimes) ([]string, error) { return index.Due(ended, now, names(next, nil)) },
		"without time": func(*DueTimes) ([]string, error) { return nil, nil },
	} {
		index := NewDueTimes()
		due, _ := first(index)
		require.NotContains(t, due, "b", what)

		due, err := index.Due(t.Context(), now, names(next, nil))

		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, due, what)
	}
}

func TestDueTimes_AChangedNameIsDueAtItsNewTime(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	next := map[string]time.Time{"a": now.Add(10 * time.Hour), "b": now.Add(20 * time.Hour)}
	index := NewDueTimes()
	dueAfter := func(d time.Duration) []string {
		t.Helper()
		due, err := index.Due(t.Context(), now.Add(d), names(next, nil))
		require.NoError(t, err)
		return due
	}
	require.Empty(t, dueAfter(0))
	next["b"] = now.Add(time.Hour)
	require.Empty(t, dueAfter(2*time.Hour), "nobody said that the name changed")
	index.Touch("b")
	require.Equal(t, []string{"b"}, dueAfter(2*time.Hour))
	next["b"] = time.Time{}
	index.Touch("b")
	require.Empty(t, dueAfter(3*time.Hour))
	next["b"] = now.Add(time.Hour)
	require.Equal(t, []string{"b"}, dueAfter(2*time.Hour), "after a step back of the clock all names are read again")
}
