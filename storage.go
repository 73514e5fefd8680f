// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
	"github.com/hashicorp/vault/sdk/logical"
)

// Storage keys. The prefixes of entries that hold a token secret are seal-wrapped.
const (
	keyConfig        = "config"
	prefixRole       = "role/"
	prefixCredential = "cred/"
	prefixRevocation = "revocation/"
	prefixHolder     = "token/"
)

// schemaVersion is the newest layout of stored entries that this build understands.
const schemaVersion = 1

// record is what storage holds under every key.
type record[T any] struct {
	Schema int `json:"schema"`
	Entry  T   `json:"entry"`
}

// table is one kind of entry in storage with its decoded copies. A cached entry is shared by all
// readers and never changed: writers put a new one. Nothing in the cache is authoritative.
type table[T any] struct {
	prefix string
	locks  []*locksutil.LockEntry
	cached sync.Map // name to *T
	// uncertain are the names whose last write failed. It may commit yet, so nothing is remembered of
	// them until a later write succeeds.
	uncertain sync.Map
	// absent says that a missing entry is remembered too.
	absent bool
	// changed hears of each entry that may have changed, on this node or another.
	changed func(name string)
}

func newTable[T any](prefix string) *table[T] {
	return &table[T]{prefix: prefix, locks: locksutil.CreateLocks(), changed: func(string) {}}
}

// get returns nil without an error for an entry that does not exist, as everywhere in Vault.
func (t *table[T]) get(ctx context.Context, s logical.Storage, name string) (*T, error) {
	if v, ok := t.cached.Load(name); ok {
		entry, _ := v.(*T)
		return entry, nil
	}
	// The lock keeps a slow read from caching what a write or an invalidation has since replaced.
	lock := locksutil.LockForKey(t.locks, name)
	lock.Lock()
	defer lock.Unlock()
	entry, err := load[T](ctx, s, t.prefix+name)
	if _, open := t.uncertain.Load(name); err == nil && !open && (entry != nil || t.absent) {
		t.cached.Store(name, entry)
	}
	return entry, err
}

// put writes an entry, whatever becomes of the caller: a write that is given up may commit all the same.
func (t *table[T]) put(ctx context.Context, s logical.Storage, name string, entry *T) error {
	return t.write(name, entry, func() error {
		return store(context.WithoutCancel(ctx), s, t.prefix+name, entry)
	})
}

// delete removes an entry, whatever becomes of the caller.
func (t *table[T]) delete(ctx context.Context, s logical.Storage, name string) error {
	return t.write(name, nil, func() error {
		if err := s.Delete(context.WithoutCancel(ctx), t.prefix+name); err != nil {
			return fmt.Errorf("delete %s%s from storage: %w", t.prefix, name, err)
		}
		return nil
	})
}

func (t *table[T]) write(name string, entry *T, do func() error) error {
	lock := locksutil.LockForKey(t.locks, name)
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

func (t *table[T]) list(ctx context.Context, s logical.Storage) ([]string, error) {
	names, err := s.List(ctx, t.prefix)
	if err != nil {
		return nil, fmt.Errorf("list %s in storage: %w", t.prefix, err)
	}
	return names, nil
}

// invalidate drops the cached copy behind a storage key that another node wrote.
func (t *table[T]) invalidate(key string) {
	name, mine := strings.CutPrefix(key, t.prefix)
	if !mine {
		return
	}
	lock := locksutil.LockForKey(t.locks, name)
	lock.Lock()
	defer lock.Unlock()
	defer t.changed(name)
	t.cached.Delete(name)
}

func load[T any](ctx context.Context, s logical.Storage, key string) (*T, error) {
	raw, err := s.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("read %s from storage: %w", key, err)
	}
	if raw == nil {
		return nil, nil //nolint:nilnil // absent is (nil, nil), as everywhere in Vault
	}
	var header record[json.RawMessage]
	if err := raw.DecodeJSON(&header); err != nil {
		return nil, fmt.Errorf("decode %s: %w", key, err)
	}
	if header.Schema > schemaVersion {
		return nil, fmt.Errorf("%s was written by a newer version of this plugin (schema %d, this build knows up to %d): "+
			"nothing was changed; run the newer version again", key, header.Schema, schemaVersion)
	}
	entry := new(T)
	if err := json.Unmarshal(header.Entry, entry); err != nil {
		return nil, fmt.Errorf("decode %s: %w", key, err)
	}
	return entry, nil
}

func store[T any](ctx context.Context, s logical.Storage, key string, entry *T) error {
	raw, err := logical.StorageEntryJSON(key, record[*T]{Schema: schemaVersion, Entry: entry})
	if err != nil {
		return fmt.Errorf("encode %s: %w", key, err)
	}
	if err := s.Put(ctx, raw); err != nil {
		return fmt.Errorf("write %s to storage: %w", key, err)
	}
	return nil
}
