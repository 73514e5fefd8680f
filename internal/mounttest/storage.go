// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/store"
)

// ErrCut is the error of a cut write.
var ErrCut = errors.New("storage was cut")

// Cut describes how one write fails.
type Cut struct {
	At        int  // the number of the write, from 1; 0 cuts no write
	Committed bool // the write takes effect, and only the answer is lost
	Deadly    bool // the process dies: no later call reaches storage
}

// CutStorage is storage in memory that counts calls and fails at a chosen write.
type CutStorage struct {
	logical.InmemStorage
	// Delay is how long each call takes. Set it while no call runs.
	Delay time.Duration

	mu     sync.Mutex
	cut    Cut
	writes []string
	reads  int
	dead   bool
}

// NewCutStorage returns empty storage without a cut.
func NewCutStorage() *CutStorage { return &CutStorage{} }

// Plan sets the next cut and clears the recorded writes and counts.
func (s *CutStorage) Plan(c Cut) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut, s.writes, s.reads, s.dead = c, nil, 0, false
}

// Heal ends the cut, and the death of the process.
func (s *CutStorage) Heal() { s.Plan(Cut{}) }

// WasCut reports whether the planned cut was reached.
func (s *CutStorage) WasCut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.writes) >= s.cut.At
}

// Die makes every later call fail.
func (s *CutStorage) Die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
}

// Recorded returns the writes since the last plan, as "put key" and "delete key".
func (s *CutStorage) Recorded() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.writes...)
}

// Calls returns how many reads and writes there were.
func (s *CutStorage) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads + len(s.writes)
}

// Get reads an entry.
func (s *CutStorage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.OnRead(); err != nil {
		return nil, err
	}
	return s.InmemStorage.Get(ctx, key)
}

// List lists keys.
func (s *CutStorage) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.OnRead(); err != nil {
		return nil, err
	}
	return s.InmemStorage.List(ctx, prefix)
}

// Put writes an entry, unless the cut prevents it.
func (s *CutStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	return s.OnWrite("put "+entry.Key, func() error { return s.InmemStorage.Put(ctx, entry) })
}

// Delete deletes an entry, unless the cut prevents it.
func (s *CutStorage) Delete(ctx context.Context, key string) error {
	return s.OnWrite("delete "+key, func() error { return s.InmemStorage.Delete(ctx, key) })
}

// OnRead counts a read, and fails it after the death of the process.
func (s *CutStorage) OnRead() error {
	time.Sleep(s.Delay)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.dead {
		return ErrCut
	}
	return nil
}

// OnWrite counts a write, and fails it at the cut.
func (s *CutStorage) OnWrite(what string, write func() error) error {
	time.Sleep(s.Delay)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return ErrCut
	}
	s.writes = append(s.writes, what)
	if s.cut.At != len(s.writes) {
		return write()
	}
	s.dead = s.cut.Deadly
	if s.cut.Committed {
		if err := write(); err != nil {
			return err
		}
	}
	return ErrCut
}

// Snapshot returns all values in storage by key.
func (s *CutStorage) Snapshot(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	keys, err := logical.CollectKeys(t.Context(), &s.InmemStorage)
	require.NoError(t, err)
	for _, key := range keys {
		entry, err := s.InmemStorage.Get(t.Context(), key)
		require.NoError(t, err)
		all[key] = string(entry.Value)
	}
	return all
}

// PutEntry writes an entry to storage without the engine.
func PutEntry[T any](tb testing.TB, s logical.Storage, key string, entry *T) {
	tb.Helper()
	require.NoError(tb, store.New[T](s, "", store.Options{}).Put(tb.Context(), key, entry))
}

// Credential returns the stored credential of a role, or nil.
func (m *Mount) Credential(name string) *model.Credential {
	m.T.Helper()
	cred, err := store.New[model.Credential](&m.Storage.InmemStorage, "cred/", store.Options{}).Get(m.T.Context(), name)
	require.NoError(m.T, err)
	return cred
}
