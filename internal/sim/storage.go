// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

var (
	errStorage   = errors.New("storage failed")
	errDead      = errors.New("the process is dead")
	errNotLeader = errors.New("this node is no longer the leader")
)

// disk is the storage that all nodes share. Only the current leader writes.
type disk struct {
	mu     sync.Mutex
	data   map[string][]byte
	leader int    // the term of the handle that may write
	cached *truth // the last result of truth, until the next write
	// onWritten is called for each write, at the moment when it takes effect. requested says whether a caller waits
	// for the write.
	onWritten func(key string, before, after []byte, requested bool)
}

func newDisk() *disk {
	return &disk{data: map[string][]byte{}, onWritten: func(string, []byte, []byte, bool) {}}
}

// newLeader returns a handle. From now on only this handle can write.
func (d *disk) newLeader(what string, seen func(cell string)) *handle {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.leader++
	return &handle{disk: d, term: d.leader, node: what, seen: seen}
}

// newStandby returns a handle that only reads.
func (d *disk) newStandby(what string, seen func(cell string)) *handle {
	return &handle{disk: d, term: -1, node: what, seen: seen}
}

func (d *disk) snapshot() map[string][]byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.data)
}

func (d *disk) restore(data map[string][]byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.data, d.cached = maps.Clone(data), nil
}

// handle is one process's access to storage.
type handle struct {
	disk *disk
	term int
	node string
	seen func(cell string)

	time *storageTime

	mu        sync.Mutex
	dead      bool
	cuts      []cut
	failReads bool
	// failingKey is the only key that fails.
	failingKey string
	// died is called once, when a cut kills the process.
	died func()
}

func (h *handle) addCut(c cut) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cuts = append(h.cuts, c)
}

// setReadFailure makes all reads fail, or lets them succeed again. Counting failed reads would depend on the order
// of concurrent reads.
func (h *handle) setReadFailure(fail bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failReads = fail
}

func (h *handle) clearFaults() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.cuts, h.failReads, h.failingKey = nil, false, ""
}

func (h *handle) kill() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead = true
}

func (h *handle) isDead() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.dead
}

func (h *handle) Get(_ context.Context, key string) (*logical.StorageEntry, error) {
	if err := h.onRead(key); err != nil {
		return nil, err
	}
	h.disk.mu.Lock()
	value, there := h.disk.data[key]
	h.disk.mu.Unlock()
	if err := h.wait(key, slowEntry); err != nil { // the answer arrives later, and may be out of date
		return nil, err
	}
	if !there {
		return nil, nil //nolint:nilnil // absent is (nil, nil), as everywhere in Vault
	}
	return &logical.StorageEntry{Key: key, Value: slices.Clone(value)}, nil
}

// List returns the names directly below a prefix.
func (h *handle) List(_ context.Context, prefix string) ([]string, error) {
	if err := h.onRead(prefix); err != nil {
		return nil, err
	}
	names := h.disk.list(prefix)
	return names, h.wait(prefix, slowList)
}

func (d *disk) list(prefix string) []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	var names []string
	for _, key := range slices.Sorted(maps.Keys(d.data)) {
		rest, below := strings.CutPrefix(key, prefix)
		if !below {
			continue
		}
		if name, _, deeper := strings.Cut(rest, "/"); deeper {
			rest = name + "/"
		}
		names = append(names, rest)
	}
	return slices.Compact(names)
}

// ListPage returns a part of List.
func (h *handle) ListPage(ctx context.Context, prefix, after string, limit int) ([]string, error) {
	names, err := h.List(ctx, prefix)
	names = slices.DeleteFunc(names, func(name string) bool { return name <= after })
	if limit > 0 {
		names = names[:min(limit, len(names))]
	}
	return names, err
}

func (h *handle) Put(ctx context.Context, entry *logical.StorageEntry) error {
	return h.onWrite(ctx, "put", entry.Key, slices.Clone(entry.Value))
}

func (h *handle) Delete(ctx context.Context, key string) error {
	return h.onWrite(ctx, "delete", key, nil)
}

func (h *handle) onRead(key string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.dead:
		return errDead
	case h.failReads, key == h.failingKey:
		h.seen("storage: read fails")
		return errStorage
	}
	return nil
}

// wait lets a storage operation take its time. It fails if the process dies meanwhile.
func (h *handle) wait(key string, longest time.Duration) error {
	if took := h.time.draw(key, longest); took > 0 {
		time.Sleep(took)
		if h.isDead() {
			return errDead
		}
	}
	return nil
}

func (h *handle) onWrite(ctx context.Context, how, key string, value []byte) error {
	if err := h.wait(key, slowEntry); err != nil {
		return err
	}
	// Vault's storage checks the context too.
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s %s: %w", how, key, err)
	}
	c, err := h.nextCut(ctx, how, key)
	if err != nil {
		return err
	}
	if c != nil && c.callerLeaves {
		cancelCaller(ctx)
		if ctx.Err() == nil { // the engine finishes this write without its caller
			return h.commit(ctx, key, value)
		}
	}
	if c != nil && !c.committed {
		h.finishCut(c)
		return h.cutError(c)
	}
	if err := errors.Join(h.commit(ctx, key, value), h.wait(key, slowEntry)); err != nil {
		return err
	}
	if c != nil {
		h.finishCut(c)
		return h.cutError(c)
	}
	return nil
}

// nextCut counts a write and returns the cut for it, if any.
func (h *handle) nextCut(ctx context.Context, how, key string) (*cut, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead {
		return nil, errDead
	}
	if key == h.failingKey {
		return nil, errStorage
	}
	var met *cut
	h.cuts = slices.DeleteFunc(h.cuts, func(c cut) bool {
		if c.in == 1 && met == nil && (!c.callerLeaves || isRequested(ctx)) {
			met = &c
			return true
		}
		return false
	})
	for i := range h.cuts {
		h.cuts[i].in = max(1, h.cuts[i].in-1)
	}
	if met != nil {
		kind, _, _ := strings.Cut(key, "/")
		h.seen("cut: " + met.String() + " " + how + " " + kind)
		h.dead = h.dead || met.kills
	}
	return met, nil
}

func (h *handle) commit(ctx context.Context, key string, value []byte) error {
	h.disk.mu.Lock()
	if h.term != h.disk.leader {
		h.disk.mu.Unlock()
		h.seen("storage: a former leader's write fails")
		return errNotLeader
	}
	before := h.disk.data[key]
	h.disk.cached = nil
	if value == nil {
		delete(h.disk.data, key)
	} else {
		h.disk.data[key] = value
	}
	h.disk.mu.Unlock()
	h.disk.onWritten(key, before, value, isRequested(ctx))
	return nil
}
