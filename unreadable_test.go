// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// writeAsNewer has an entry look as a newer version of the plugin would have written it: with a field that this
// build does not know.
func (m *mount) writeAsNewer(key string) {
	m.t.Helper()
	ctx := context.WithoutCancel(m.t.Context())
	raw, err := m.storage.InmemStorage.Get(ctx, key)
	require.NoError(m.t, err)
	var stored struct {
		Schema int            `json:"schema"`
		Entry  map[string]any `json:"entry"`
	}
	require.NoError(m.t, json.Unmarshal(raw.Value, &stored))
	stored.Entry["keep_until"] = "2027-01-01T00:00:00Z"
	newer, err := logical.StorageEntryJSON(key, stored)
	require.NoError(m.t, err)
	require.NoError(m.t, m.storage.InmemStorage.Put(ctx, newer))
	m.restart()
}

// tickAnyway is a tick that may fail, as one does that cannot read what it needs.
func (m *mount) tickAnyway() error {
	_, err := m.HandleRequest(m.t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: m.storage, Data: map[string]any{}, MountPoint: "modal/"})
	return err
}

// fromNewer is what is said of an entry that a newer version wrote.
const fromNewer = ` was written by a newer version of this plugin (this build does not know its field "keep_until"): nothing was changed; run the newer version again`

func TestUnreadable_AnEntryOfANewerVersionIsRefusedAndHidesNothingElse(t *testing.T) {
	t.Parallel()
	for kind, path := range map[string]string{"role/": "roles/ci", "cred/": "creds/ci", "revocation/": "revocations/"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := newManagedMount(t)
			old := m.addManaged("ci", map[string]any{"grace_period": "1h"})
			m.write("rotate/ci", nil)
			m.addManaged("fine", map[string]any{"rotation_period": "1h", "grace_period": "1h"})
			key := kind + "ci"
			if kind == "revocation/" {
				key, path = kind+old, path+old
			}
			m.writeAsNewer(key)

			status, text := m.failed(logical.ReadOperation, path, nil)

			require.Equal(t, http.StatusInternalServerError, status)
			require.Equal(t, key+fromNewer, text)
			for range 3 * 60 { // the grace period of the previous token ends
				m.clock.advance(time.Minute)
				_ = m.tickAnyway()
			}
			require.True(t, m.knows(old), "the worker ends no token that the entry may refer to")
			require.Greater(t, m.read("creds/fine")["version"], int64(1), "other roles are rotated")
		})
	}
}

func TestUnreadable_AConfigOfANewerVersionStopsTheWorker(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"grace_period": "1h"})
	m.write("rotate/ci", nil)
	m.writeAsNewer("config")
	before := m.storage.snapshot(t)
	for range 3 * 60 {
		m.clock.advance(time.Minute)
		require.ErrorContains(t, m.tickAnyway(), "config"+fromNewer)
	}
	require.True(t, m.knows(old))
	m.unchangedSince(before)
	status, text := m.failed(logical.ReadOperation, "status", nil)
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, text, "config"+fromNewer)
}
