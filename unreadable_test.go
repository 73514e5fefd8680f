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

// writeAsNewer changes an entry as a newer version of the plugin would write it: with a field that this build does not
// know.
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

// tickAnyway runs a tick that may fail.
func (m *mount) tickAnyway() error {
	_, err := m.HandleRequest(m.t.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: m.storage, Data: map[string]any{}, MountPoint: "modal/"})
	return err
}

// fromNewer is the end of the message about an entry that a newer version wrote.
const fromNewer = ` was written by a newer version of this plugin (this build does not know its field "keep_until"): nothing was changed; run the newer version again`

func TestUnreadable_EntryOfANewerVersionHidesNothingElse(t *testing.T) {
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
			require.True(t, m.knows(old), "the worker revokes no token that the entry may refer to")
			require.Greater(t, m.read("creds/fine")["version"], int64(1), "other roles are rotated")
		})
	}
}

func TestUnreadable_ConfigOfANewerVersionStopsTheWorker(t *testing.T) {
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

func TestUnreadable_CredentialStopsRevocationsUntilItsRoleIsDeleted(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"grace_period": "1h"})
	m.write("rotate/ci", nil)
	lost := m.serviceUser(m.addManaged("broken")).Name
	m.writeAsNewer("cred/broken")
	for range 2 * 60 {
		m.clock.advance(time.Minute)
		_ = m.tickAnyway()
	}
	require.True(t, m.knows(old), "an unreadable credential stops all revocations")
	status := m.must(logical.ReadOperation, "status", nil)
	require.Equal(t, int64(1), status.Data["roles_unreadable"])
	require.Equal(t, int64(2), status.Data["roles"])
	require.Empty(t, status.Warnings)
	require.NotContains(t, toJSON(t, status.Data), "broken", "status contains numbers and no names")

	require.Equal(t, "role broken was not deleted: cred/broken"+fromNewer+"; or delete it without the unreadable part with: vault delete modal/roles/broken force=true, "+
		"then check whether its service user is left at Modal with: vault list -detailed modal/orphans", m.refused(logical.DeleteOperation, "roles/broken", nil))
	done := m.remove("roles/broken", withForce)

	require.Equal(t, []string{"the current token is unknown and not revoked, because cred/broken" + fromNewer}, tokensOf(done))
	require.Equal(t, "check whether the role's service user is left at Modal, and delete it: vault list -detailed modal/orphans", done.Data["next_step"])
	m.tick()
	require.Equal(t, true, m.read("status")["out_of_sync"], "the role's service user is an orphan now")
	require.Equal(t, int64(0), m.read("status")["roles_unreadable"])
	require.Equal(t, []string{lost}, m.list("orphans"))
	m.write("orphans", map[string]any{"dry_run": false})
	m.minutes(2)
	require.False(t, m.knows(old), "revocations continue")
	require.Equal(t, false, m.read("status")["out_of_sync"])
}

func TestUnreadable_RoleIsDeletedByForceAndItsTokenRevoked(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	current := m.addManaged("broken")
	m.writeAsNewer("role/broken")
	require.Equal(t, int64(1), m.read("status")["roles_unreadable"])
	require.Contains(t, m.refused(logical.DeleteOperation, "roles/broken", nil), "role/broken"+fromNewer+"; or delete it without the unreadable part")

	done := m.remove("roles/broken", withForce)

	require.Equal(t, []string{"token " + current + ": revoked, Modal rejects it"}, tokensOf(done))
	require.Empty(t, m.modal.ServiceUsers())
	require.Equal(t, int64(0), m.read("status")["roles"])
}

func TestUnreadable_StaticTokenIsLeftToTheOperator(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	id := m.addRole("broken")
	m.writeAsNewer("role/broken")
	require.Contains(t, tokensOf(m.remove("roles/broken", withForce))[0], "token "+id+" (version 1): the engine does not revoke it, so delete token "+id)
	require.True(t, m.knows(id))
}

func TestUnreadable_CredentialWithoutARoleIsCountedAndDeleted(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addRole("broken")
	m.writeAsNewer("cred/broken")
	require.NoError(t, m.storage.InmemStorage.Delete(t.Context(), "role/broken")) // an interrupted delete leaves this state
	m.restart()
	require.Equal(t, int64(1), m.read("status")["roles_unreadable"])
	m.remove("roles/broken", withForce)
	require.Equal(t, int64(0), m.read("status")["roles_unreadable"])
}

func TestUnreadable_RevocationIsCounted(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", nil)
	m.writeAsNewer("revocation/" + old)
	status := m.must(logical.ReadOperation, "status", nil)
	require.Equal(t, int64(1), status.Data["revocations_unreadable"])
	require.Equal(t, int64(1), status.Data["revocations"])
	require.Empty(t, status.Warnings)
	require.Contains(t, tokensOf(m.remove("roles/ci", nil))[1], "1 revocations cannot be read and may belong to this role; to see why: vault read modal/revocations/"+old)
}

func TestUnreadable_StorageFailureIsNoReasonToDeleteByForce(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.restart()
	m.storage.die()
	_, err := m.handle(logical.DeleteOperation, "roles/ci", withForce)
	require.ErrorIs(t, err, errCut)
	m.storage.heal()
	require.NotEmpty(t, m.read("creds/ci"))
}
