// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// dueTimes is an index of when roles are due, rebuilt from storage after a start and for each role
// that changed. Nothing in it is authoritative.
type dueTimes struct {
	mu      sync.Mutex
	loaded  bool
	looked  time.Time
	changed map[string]bool
	next    map[string]time.Time
	// earliest spares an idle tick the look at each role.
	earliest time.Time
}

func newDueTimes() *dueTimes {
	return &dueTimes{changed: map[string]bool{}, next: map[string]time.Time{}}
}

// touch has a role looked up again at the next tick.
func (t *dueTimes) touch(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.changed[name] = true
}

// take returns the roles to look up, which are all of them (nil) the first time and after the clock was
// set back.
func (t *dueTimes) take(now time.Time) (names []string, all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	all = !t.loaded || now.Before(t.looked)
	t.loaded, t.looked = true, now
	for name := range t.changed {
		names = append(names, name)
	}
	clear(t.changed)
	return names, all
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

// due are the roles whose time has come, the longest waiting first.
func (t *dueTimes) due(now time.Time) []string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Before(t.earliest) {
		return nil
	}
	var names []string
	t.earliest = now.Add(maxRotationPeriod)
	for name, next := range t.next {
		t.earliest = earlier(t.earliest, next)
		if !now.Before(next) {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(x, y string) int { return cmp.Or(t.next[x].Compare(t.next[y]), cmp.Compare(x, y)) })
	return names
}

// dueRoles brings the index up to date and asks it. Roles that did not change cost nothing.
func (b *backend) dueRoles(ctx context.Context, s logical.Storage) ([]string, error) {
	names, all := b.due.take(b.now())
	if all {
		var err error
		if names, err = b.roles.list(ctx, s); err != nil {
			b.due.reload()
			return nil, err
		}
	}
	b.eachOf(names, maxConcurrentReads, func(_ int, name string) {
		if err := b.indexRole(ctx, s, name); err != nil {
			b.Logger().Error("cannot tell when a role is due", "role", name, "error", err)
			b.due.touch(name)
		}
	})
	return b.due.due(b.now()), nil
}

func (t *dueTimes) reload() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.loaded = false
}

func (b *backend) indexRole(ctx context.Context, s logical.Storage, name string) error {
	r, err := b.rotation(ctx, s, name)
	if err != nil {
		return err
	}
	if r == nil {
		b.due.set(name, time.Time{})
		return nil
	}
	b.due.set(name, r.nextAttempt(b.now()))
	return nil
}
