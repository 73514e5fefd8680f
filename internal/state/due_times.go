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

// MaxChanged is how many names are remembered one by one, on a node that does not ask, before all are
// looked up again.
const MaxChanged = 100_000

// DueTimes is an index of when names (roles, or entries of the ledger) are due, rebuilt from storage
// after a start and for each name that changed. Nothing in it is authoritative. An idle look costs
// nothing per name.
type DueTimes struct {
	mu      sync.Mutex
	loaded  bool
	looked  time.Time
	changed map[string]bool
	next    map[string]time.Time
	// earliest spares an idle tick the look at each name.
	earliest time.Time
}

// DueSource is where an index learns of its names: list names all, next says when one is due (zero for
// never), and failed hears why that could not be told.
type DueSource struct {
	List   func(ctx context.Context) ([]string, error)
	Next   func(ctx context.Context, name string) (time.Time, error)
	Failed func(name string, err error)
}

// NewDueTimes returns an index that looks all names up at first.
func NewDueTimes() *DueTimes {
	return &DueTimes{changed: map[string]bool{}, next: map[string]time.Time{}}
}

// Touch has a name looked up again. Until the first look, which asks for all, there is nothing to note.
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

// Reset has all names looked up again.
func (t *DueTimes) Reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
}

// Len returns how many names are due at some time, and how many have to be looked up again.
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

// Due brings the index up to date and returns the names whose time has come, the longest waiting first.
// What cannot be looked up before ctx ends, or at all, is looked up again the next time.
func (t *DueTimes) Due(ctx context.Context, now time.Time, from DueSource) ([]string, error) {
	if err := t.load(ctx, now, from); err != nil {
		return nil, err
	}
	EachOf(t.take(), MaxConcurrentReads, func(_ int, name string) {
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

// load asks for all names the first time, and after the clock was set back.
func (t *DueTimes) load(ctx context.Context, now time.Time, from DueSource) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.loaded && !now.Before(t.looked) {
		t.looked = now
		return nil
	}
	t.forget()
	// Before the list, so that a name that is added meanwhile is noted.
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

func (t *DueTimes) take() []string {
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
