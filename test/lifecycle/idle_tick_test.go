// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

// The tests in this file check that work that is not due costs no call, and that an unreadable entry hides no other entry.

func TestTick_WhenIdleMakesNoStorageCallWithAThousandRoles(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.SeedManaged(t, 1000, 0)
	m.SeedRevocations(t, 1000)
	m.Restart()
	m.Minutes(1)
	calls := len(m.Modal.Calls(""))
	m.Storage.Heal()
	m.Minutes(10)
	require.Zero(t, m.Storage.Calls())
	require.Len(t, m.Modal.Calls(""), calls)
}

func TestUnreadable_NewerSchemaHidesNoOtherRoleOrRevocation(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "10h"})
	m.Write("rotate/ci", map[string]any{"grace_period": 0})
	for _, key := range []string{"role/newer", "revocation/ak-newer"} {
		require.NoError(t, m.Storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: []byte(`{"schema":99,"entry":{}}`)}))
	}
	m.Restart()

	for _, path := range []string{"roles", "rotate"} {
		resp := m.Must(logical.ListOperation, path, nil)
		require.Contains(t, resp.Data["keys"], "newer")
		require.Contains(t, resp.Data["key_info"], "ci")
		require.Contains(t, resp.Warnings[0], "cannot be read")
	}
	require.Contains(t, m.List("revocations"), "ak-newer")
	require.Contains(t, m.List("revocations"), old)
	require.Equal(t, []string{old}, m.Read("rotate/ci")["previous_tokens"])
	m.Minutes(1)
	require.False(t, m.InQueue(old), "the worker processes the other revocations")
	m.Clock.Advance(10 * time.Hour)
	m.Tick()
	require.Equal(t, int64(3), m.Read("creds/ci")["version"], "the worker rotates the other roles")
	m.Write("rotate/ci", nil)
	m.Remove("roles/ci", nil)
}
