// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// The tests in this file check that work that is not due costs no call, and that an unreadable entry hides no other entry.

// seedRevocations stores revocations of deleted roles, within their grace period.
func (m *mount) seedRevocations(tb testing.TB, count int) {
	tb.Helper()
	for i := range count {
		id := fmt.Sprintf("ak-L%021d", i)
		putEntry(tb, m.storage, "revocation/"+id, &model.Revocation{
			Token: model.Token{
				ID: id, Secret: fmt.Sprintf("as-L%021d", i), IdentityType: modalapi.IdentityServiceUser, Identity: fmt.Sprintf("vault-seed-l%d", i),
				IdentityID: fmt.Sprintf("sv-l%d", i), WorkspaceID: m.workspace.ID(), LastVerified: start, CreatedByMount: true,
			},
			Role: fmt.Sprintf("gone-%05d", i), Version: 1, Reason: "role deleted", Method: "automatic",
			Since: m.clock.now(), NotBefore: m.clock.now().Add(day), NextAttempt: m.clock.now().Add(day),
		})
	}
}

func TestTick_WhenIdleMakesNoStorageCallWithAThousandRoles(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.seedManaged(t, 1000, 0)
	m.seedRevocations(t, 1000)
	m.restart()
	m.minutes(1)
	calls := len(m.modal.Calls(""))
	m.storage.heal()
	m.minutes(10)
	require.Zero(t, m.storage.calls())
	require.Len(t, m.modal.Calls(""), calls)
}

func TestUnreadable_NewerSchemaHidesNoOtherRoleOrRevocation(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"rotation_period": "10h", "grace_period": "10h"})
	m.write("rotate/ci", map[string]any{"grace_period": 0})
	for _, key := range []string{"role/newer", "revocation/ak-newer"} {
		require.NoError(t, m.storage.Put(t.Context(), &logical.StorageEntry{Key: key, Value: []byte(`{"schema":99,"entry":{}}`)}))
	}
	m.restart()

	for _, path := range []string{"roles", "rotate"} {
		resp := m.must(logical.ListOperation, path, nil)
		require.Contains(t, resp.Data["keys"], "newer")
		require.Contains(t, resp.Data["key_info"], "ci")
		require.Contains(t, resp.Warnings[0], "cannot be read")
	}
	require.Contains(t, m.list("revocations"), "ak-newer")
	require.Contains(t, m.list("revocations"), old)
	require.Equal(t, []string{old}, m.read("rotate/ci")["previous_tokens"])
	m.minutes(1)
	require.False(t, m.inQueue(old), "the worker processes the other revocations")
	m.clock.advance(10 * time.Hour)
	m.tick()
	require.Equal(t, int64(3), m.read("creds/ci")["version"], "the worker rotates the other roles")
	m.write("rotate/ci", nil)
	m.remove("roles/ci", nil)
}
