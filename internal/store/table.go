// SPDX-License-Identifier: MPL-2.0

// Package store keeps typed entries in Vault's storage. Each kind of entry has a table, with decoded copies
// in memory and a schema version in each stored entry.
package store

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/vault/sdk/logical"
)

// schemaVersion is the format of stored entries that this build reads and writes. Version 1 was never released. A
// new field needs no new version if it is omitted at zero. Then this build reads old entries. An older build refuses
// an entry that has the field.
const schemaVersion = 2

// record is the JSON that storage contains under every key.
type record[T any] struct {
	Schema int `json:"schema"`
	Entry  T   `json:"entry"`
}

// Storage is the part of Vault's storage that belongs to one mount.
type Storage = logical.Storage

// Table is one kind of entry in storage, with decoded copies in a cache. All readers share a cached entry, so
// it must never be changed: writers put a new entry. Storage is the truth; the cache may be dropped at any
// time.
type Table[T any] struct {
	storage Storage
	prefix  string
	options Options
	locks   nameMutexes
	cached  sync.Map // name to *T
	// uncertain contains the names whose last write failed. The write may still commit, so these names are
	// not cached until a later write succeeds.
	uncertain sync.Map
}

// Options configures a table.
type Options struct {
	// RememberAbsent also caches that an entry does not exist.
	RememberAbsent bool
	// Changed is called for each entry that may have changed, on this node or another. It may be nil.
	Changed func(name string)
	// Retired lists the fields that earlier builds wrote and that this build no longer has, as dotted paths
	// of JSON names ("policy.window"). A stored entry may still contain them.
	Retired []string
}

// New makes a table of the entries whose keys begin with prefix. It does not access storage.
func New[T any](storage Storage, prefix string, options Options) *Table[T] {
	return &Table[T]{storage: storage, prefix: prefix, options: options}
}

// Get returns an entry. For an entry that does not exist it returns nil without an error, as Vault does
// everywhere.
func (t *Table[T]) Get(ctx context.Context, name string) (*T, error) {
	if v, ok := t.cached.Load(name); ok {
		entry, _ := v.(*T)
		return entry, nil
	}
	// The lock stops a slow read from caching an old entry after a write or an invalidation.
	lock := t.locks.of(name)
	lock.Lock()
	defer lock.Unlock()
	entry, err := t.load(ctx, t.prefix+name)
	if _, open := t.uncertain.Load(name); err == nil && !open && (entry != nil || t.options.RememberAbsent) {
		t.cached.Store(name, entry)
	}
	return entry, err
}

// Put writes an entry. It ignores the cancellation of ctx, because a write that is given up may still commit.
func (t *Table[T]) Put(ctx context.Context, name string, entry *T) error {
	return t.write(name, entry, func() error {
		return save(context.WithoutCancel(ctx), t.storage, t.prefix+name, entry)
	})
}

// Delete removes an entry. It ignores the cancellation of ctx, as Put does.
func (t *Table[T]) Delete(ctx context.Context, name string) error {
	return t.write(name, nil, func() error {
		if err := t.storage.Delete(context.WithoutCancel(ctx), t.prefix+name); err != nil {
			return fmt.Errorf("delete %s%s from storage: %w", t.prefix, name, err)
		}
		return nil
	})
}

func (t *Table[T]) write(name string, entry *T, do func() error) error {
	lock := t.locks.of(name)
	lock.Lock()
	defer lock.Unlock()
	defer t.changed(name)
	t.cached.Delete(name)
	if err := do(); err != nil {
		t.uncertain.Store(name, true)
		return err
	}
	t.uncertain.Delete(name)
	if entry != nil {
		t.cached.Store(name, entry)
	}
	return nil
}

// List returns the names of all entries from storage.
func (t *Table[T]) List(ctx context.Context) ([]string, error) {
	names, err := t.storage.List(ctx, t.prefix)
	if err != nil {
		return nil, fmt.Errorf("list %s in storage: %w", t.prefix, err)
	}
	return names, nil
}

// Invalidate drops the cached copy of a storage key that another node wrote.
func (t *Table[T]) Invalidate(key string) {
	name, found := strings.CutPrefix(key, t.prefix)
	if !found {
		return
	}
	lock := t.locks.of(name)
	lock.Lock()
	defer lock.Unlock()
	defer t.changed(name)
	t.cached.Delete(name)
}

func (t *Table[T]) changed(name string) {
	if t.options.Changed != nil {
		t.options.Changed(name)
	}
}

func save[T any](ctx context.Context, s Storage, key string, entry *T) error {
	raw, err := logical.StorageEntryJSON(key, record[*T]{Schema: schemaVersion, Entry: entry})
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	if err := s.Put(ctx, raw); err != nil {
		return fmt.Errorf("write %s to storage: %w", key, err)
	}
	return nil
}
