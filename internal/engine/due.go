// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"
)

// maxChanged is how many names are remembered one by one, on a node that does not ask, before all are
// looked up again.
const maxChanged = 100_000

// dueTimes is an index of when names (roles, or entries of the ledger) are due, rebuilt from storage
// after a start and for each name that changed. Nothing in it is authoritative. An idle look costs
// nothing per name.
type dueTimes struct {
	mu      sync.Mutex
	loaded  bool
	looked  time.Time
	changed map[string]bool
	next    map[string]time.Time
	// earliest spares an idle tick the look at each name.
	earliest time.Time
}

// source is where an index learns of its names: list names all, next says when one is due (zero for
// never), and failed hears why that could not be told.
type source struct {
	list   func(ctx context.Context) ([]string, error)
	next   func(ctx context.Context, name string) (time.Time, error)
	failed func(name string, err error)
}

func newDueTimes() *dueTimes {
	return &dueTimes{changed: map[string]bool{}, next: map[string]time.Time{}}
}

// touch has a name looked up again. Until the first look, which asks for all, there is nothing to note.
func (t *dueTimes) touch(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.loaded {
		return
	}
	if t.changed[name] = true; len(t.changed) > maxChanged {
		t.forget()
	}
}

// reset has all names looked up again.
func (t *dueTimes) reset() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget()
}

func (t *dueTimes) forget() {
	t.loaded = false
	clear(t.changed)
	clear(t.next)
}

// due brings the index up to date and returns the names whose time has come, the longest waiting first.
// What cannot be looked up before ctx ends, or at all, is looked up again the next time.
func (t *dueTimes) due(ctx context.Context, now time.Time, from source) ([]string, error) {
	if err := t.load(ctx, now, from); err != nil {
		return nil, err
	}
	eachOf(t.take(), maxConcurrentReads, func(_ int, name string) {
		if ctx.Err() != nil {
			t.touch(name)
			return
		}
		next, err := from.next(ctx, name)
		if err != nil {
			from.failed(name, err)
			t.touch(name)
			return
		}
		t.set(name, next)
	})
	return t.ready(now), nil
}

// load asks for all names the first time, and after the clock was set back.
func (t *dueTimes) load(ctx context.Context, now time.Time, from source) error {
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
	names, err := from.list(ctx)
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

func (t *dueTimes) take() []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	names := slices.Sorted(maps.Keys(t.changed))
	clear(t.changed)
	return names
}

func (t *dueTimes) set(name string, next time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if next.IsZero() {
		delete(t.next, name)
		return
	}
	t.next[name] = next
	t.earliest = earlier(t.earliest, next)
}

func (t *dueTimes) ready(now time.Time) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.earliest) {
		return nil
	}
	var names []string
	t.earliest = now.Add(MaxRotationPeriod)
	for name, next := range t.next {
		t.earliest = earlier(t.earliest, next)
		if !now.Before(next) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(x, y string) int { return cmp.Or(t.next[x].Compare(t.next[y]), cmp.Compare(x, y)) })
	return names
}
