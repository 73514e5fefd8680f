// SPDX-License-Identifier: MPL-2.0

package store

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

type entry struct {
	Text string `json:"text"`
}

// late is storage whose next write returns an error and commits later, when the test says so.
type late struct {
	logical.InmemStorage

	armed  bool
	commit func() error
	reads  int
}

var errLate = errors.New("no answer")

func (s *late) Put(ctx context.Context, e *logical.StorageEntry) error {
	if s.armed {
		s.armed, s.commit = false, func() error { return s.InmemStorage.Put(ctx, e) }
		return errLate
	}
	return s.InmemStorage.Put(ctx, e)
}

func (s *late) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	s.reads++
	return s.InmemStorage.Get(ctx, key)
}

func TestTable_WriteThatCommitsLateLeavesNoOldCopy(t *testing.T) {
	t.Parallel()
	s := &late{}
	table := New[entry](s, "e/", Options{})
	require.NoError(t, table.Put(t.Context(), "x", &entry{"old"}))
	s.armed = true
	require.ErrorIs(t, table.Put(t.Context(), "x", &entry{"new"}), errLate)
	between, err := table.Get(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, "old", between.Text)
	require.NoError(t, s.commit())
	after, err := table.Get(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, "new", after.Text)

	require.NoError(t, table.Put(t.Context(), "x", &entry{"newer"}))
	reads := s.reads
	_, err = table.Get(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, reads, s.reads, "a successful write is cached again")
}

func TestTable_WriteIgnoresTheCallersCancellation(t *testing.T) {
	t.Parallel()
	s := &strict{}
	table := New[entry](s, "e/", Options{})
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, table.Put(cancelled, "x", &entry{"kept"}))
	require.NoError(t, table.Delete(cancelled, "x"))
}

// strict is storage that refuses to work with a cancelled context.
type strict struct{ logical.InmemStorage }

func (s *strict) Put(ctx context.Context, e *logical.StorageEntry) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.InmemStorage.Put(ctx, e)
}

func (s *strict) Delete(ctx context.Context, key string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return s.InmemStorage.Delete(ctx, key)
}

func TestTable_InvalidatedEntryIsReadAgain(t *testing.T) {
	t.Parallel()
	s := &late{}
	var heard []string
	table := New[entry](s, "e/", Options{Changed: func(name string) { heard = append(heard, name) }})
	require.NoError(t, table.Put(t.Context(), "x", &entry{"here"}))
	require.NoError(t, New[entry](s, "e/", Options{}).Put(t.Context(), "x", &entry{"elsewhere"}))
	table.Invalidate("other/x")
	cached, err := table.Get(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, "here", cached.Text)
	table.Invalidate("e/x")
	fresh, err := table.Get(t.Context(), "x")
	require.NoError(t, err)
	require.Equal(t, "elsewhere", fresh.Text)
	require.Equal(t, []string{"x", "x"}, heard)
}

// slow is storage whose reads wait until the test lets them go on.
type slow struct {
	logical.InmemStorage

	proceed chan struct{}
}

func (s *slow) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	e, err := s.InmemStorage.Get(ctx, key)
	<-s.proceed
	return e, err
}

func TestTable_SlowReadCachesNoEntryThatChangedMeanwhile(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(ctx context.Context, s *slow, table *Table[entry]) error{
		"written by another node": func(ctx context.Context, s *slow, table *Table[entry]) error {
			defer table.Invalidate("e/x")
			return New[entry](&s.InmemStorage, "e/", Options{}).Put(ctx, "x", &entry{"new"})
		},
		"written by this node": func(ctx context.Context, _ *slow, table *Table[entry]) error {
			return table.Put(ctx, "x", &entry{"new"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s := &slow{proceed: make(chan struct{})}
				require.NoError(t, New[entry](&s.InmemStorage, "e/", Options{}).Put(t.Context(), "x", &entry{"old"}))
				table := New[entry](s, "e/", Options{})
				go func() { _, _ = table.Get(t.Context(), "x") }()
				synctest.Wait() // the read has the old entry
				changed := make(chan error, 1)
				go func() { changed <- change(t.Context(), s, table) }()
				synctest.Wait() // the change is done, or waits for the read
				close(s.proceed)
				require.NoError(t, <-changed)
				synctest.Wait()

				after, err := table.Get(t.Context(), "x")

				require.NoError(t, err)
				require.Equal(t, "new", after.Text)
			})
		})
	}
}
