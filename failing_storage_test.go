// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/store"
)

var errCut = errors.New("storage was cut")

// cut describes how one write fails.
type cut struct {
	at        int  // the number of the write, from 1; 0 cuts no write
	committed bool // the write takes effect, and only the answer is lost
	deadly    bool // the process dies: no later call reaches storage
}

// cutStorage is storage in memory that counts calls and fails at a chosen write.
type cutStorage struct {
	logical.InmemStorage

	mu     sync.Mutex
	cut    cut
	writes []string
	reads  int
	dead   bool
}

func newCutStorage() *cutStorage { return &cutStorage{} }

// plan sets the next cut and clears the recorded writes and counts.
func (s *cutStorage) plan(c cut) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cut, s.writes, s.reads, s.dead = c, nil, 0, false
}

func (s *cutStorage) heal() { s.plan(cut{}) }

// wasCut reports whether the planned cut was reached.
func (s *cutStorage) wasCut() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.writes) >= s.cut.at
}

// die makes every later call fail.
func (s *cutStorage) die() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dead = true
}

// recorded returns the writes since the last plan, as "put key" and "delete key".
func (s *cutStorage) recorded() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.writes...)
}

func (s *cutStorage) calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads + len(s.writes)
}

func (s *cutStorage) Get(ctx context.Context, key string) (*logical.StorageEntry, error) {
	if err := s.onRead(); err != nil {
		return nil, err
	}
	return s.InmemStorage.Get(ctx, key)
}

func (s *cutStorage) List(ctx context.Context, prefix string) ([]string, error) {
	if err := s.onRead(); err != nil {
		return nil, err
	}
	return s.InmemStorage.List(ctx, prefix)
}

func (s *cutStorage) Put(ctx context.Context, entry *logical.StorageEntry) error {
	return s.onWrite("put "+entry.Key, func() error { return s.InmemStorage.Put(ctx, entry) })
}

func (s *cutStorage) Delete(ctx context.Context, key string) error {
	return s.onWrite("delete "+key, func() error { return s.InmemStorage.Delete(ctx, key) })
}

func (s *cutStorage) onRead() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.dead {
		return errCut
	}
	return nil
}

func (s *cutStorage) onWrite(what string, write func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dead {
		return errCut
	}
	s.writes = append(s.writes, what)
	if s.cut.at != len(s.writes) {
		return write()
	}
	s.dead = s.cut.deadly
	if s.cut.committed {
		if err := write(); err != nil {
			return err
		}
	}
	return errCut
}

// snapshot returns all values in storage by key.
func (s *cutStorage) snapshot(t *testing.T) map[string]string {
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

// putEntry writes an entry to storage without the engine.
func putEntry[T any](tb testing.TB, s logical.Storage, key string, entry *T) {
	tb.Helper()
	require.NoError(tb, store.New[T](s, "", store.Options{}).Put(tb.Context(), key, entry))
}

// credential returns the stored credential of a role, or nil.
func (m *mount) credential(name string) *model.Credential {
	m.t.Helper()
	cred, err := store.New[model.Credential](&m.storage.InmemStorage, "cred/", store.Options{}).Get(m.t.Context(), name)
	require.NoError(m.t, err)
	return cred
}
