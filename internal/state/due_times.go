// SPDX-License-Identifier: MPL-2.0

package state

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// MaxChanged bounds the memory for changed names on a node that never asks for due names. Beyond it, all names are
// looked up again.
const MaxChanged = 100_000

// DueTimes is an index of when names are due. A name is a role's name, or a revocation's ID. The index is rebuilt
// from storage after a start, and updated for each name that changed. Storage stays the only truth. A tick without a
// due name costs nothing per name.
type DueTimes struct {
	mu sync.Mutex
	// loaded says that all names have been listed.
	loaded bool
	// looked is when Due was last called.
	looked time.Time
	// changed holds the names to look up again.
	changed map[string]bool
	// next holds when each name is due.
	next map[string]time.Time
	// earliest is not later than any time in next, so that an idle tick need not look at each name.
	earliest time.Time
}

// DueSource tells an index about its names.
type DueSource struct {
	// List returns all names.
	List func(ctx context.Context) ([]string, error)
	// Next returns when a name is due, zero for never.
	Next func(ctx context.Context, name string) (time.Time, error)
	// Failed is called if Next fails.
	Failed func(name string, err error)
}

// NewDueTimes returns an empty index. The first call of Due looks up all names.
func NewDueTimes() *DueTimes {
	return &DueTimes{changed: map[string]bool{}, next: map[string]time.Time{}}
}

// Touch marks a name to be looked up again. Before the first call of Due it does nothing, because that call looks up
// all names.
func (t *DueTimes) Touch(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loaded {
		return
	}
	if t.changed[name] = true; len(t.changed) > MaxChanged {
		t.forget()
	}
}

// Reset marks all names to be looked up again.
func (t *DueTimes) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
}

// Len returns how many names have a due time, and how many must be looked up again.
func (t *DueTimes) Len() (due, changed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.next), len(t.changed)
}

func (t *DueTimes) forget() {
	t.loaded = false
	clear(t.changed)
	clear(t.next)
}

// Due updates the index and returns the names that are due, the longest waiting first. If a lookup fails, or ctx ends
// before it, the next call looks the name up again.
func (t *DueTimes) Due(ctx context.Context, now time.Time, from DueSource) ([]string, error) {
	if err := t.load(ctx, now, from); err != nil {
		return nil, err
	}
	EachOf(t.takeChanged(), MaxConcurrentReads, func(_ int, name string) {
		if ctx.Err() != nil {
			t.Touch(name)
			return
		}
		next, err := from.Next(ctx, name)
		if err != nil {
			from.Failed(name, err)
			t.Touch(name)
			return
		}
		t.set(name, next)
	})
	return t.ready(now), nil
}

// load lists all names at the first call, and after the clock was set back.
func (t *DueTimes) load(ctx context.Context, now time.Time, from DueSource) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.loaded && !now.Before(t.looked) {
		t.looked = now
		return nil
	}
	t.forget()
	// Set loaded before the list, so that Touch keeps a name that is added meanwhile.
	t.loaded, t.looked, t.earliest = true, now, now
	t.mu.Unlock()
	names, err := from.List(ctx)
	t.mu.Lock()
	if err != nil {
		t.forget()
		return err
	}
	for _, name := range names {
		t.changed[name] = true
	}
	return nil
}

func (t *DueTimes) takeChanged() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := slices.Sorted(maps.Keys(t.changed))
	clear(t.changed)
	return names
}

func (t *DueTimes) set(name string, next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if next.IsZero() {
		delete(t.next, name)
		return
	}
	t.next[name] = next
	t.earliest = model.Earlier(t.earliest, next)
}

func (t *DueTimes) ready(now time.Time) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.earliest) {
		return nil
	}
	var names []string
	t.earliest = now.Add(model.MaxRotationPeriod)
	for name, next := range t.next {
		t.earliest = model.Earlier(t.earliest, next)
		if !now.Before(next) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(x, y string) int { return cmp.Or(t.next[x].Compare(t.next[y]), cmp.Compare(x, y)) })
	return names
}
