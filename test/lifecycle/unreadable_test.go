// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

// fromNewer is the end of the message about an entry that a newer version wrote.
const fromNewer = ` was written by a newer version of this plugin (this build does not know its field "keep_until"): nothing was changed; run the newer version again`

func TestUnreadable_EntryOfANewerVersionHidesNothingElse(t *testing.T) {
	t.Parallel()
	for kind, path := range map[string]string{"role/": "roles/ci", "cred/": "creds/ci", "revocation/": "revocations/"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewManaged(t)
			old := m.AddManaged("ci", map[string]any{"grace_period": "1h"})
			m.Write("rotate/ci", nil)
			m.AddManaged("fine", map[string]any{"rotation_period": "1h", "grace_period": "1h"})
			key := kind + "ci"
			if kind == "revocation/" {
				key, path = kind+old, path+old
			}
			m.WriteAsNewer(key)

			status, text := m.Failed(logical.ReadOperation, path, nil)

			require.Equal(t, http.StatusInternalServerError, status)
			require.Equal(t, key+fromNewer, text)
			for range 3 * 60 { // the grace period of the previous token ends
				m.Clock.Advance(time.Minute)
				_ = m.TickAnyway()
			}
			require.True(t, m.Knows(old), "the worker revokes no token that the entry may refer to")
			require.Greater(t, m.Read("creds/fine")["version"], int64(1), "other roles are rotated")
		})
	}
}

func TestUnreadable_ConfigOfANewerVersionStopsTheWorker(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.Write("rotate/ci", nil)
	m.WriteAsNewer("config")
	before := m.Storage.Snapshot(t)
	for range 3 * 60 {
		m.Clock.Advance(time.Minute)
		require.ErrorContains(t, m.TickAnyway(), "config"+fromNewer)
	}
	require.True(t, m.Knows(old))
	m.UnchangedSince(before)
	status, text := m.Failed(logical.ReadOperation, "status", nil)
	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, text, "config"+fromNewer)
}

func TestUnreadable_CredentialStopsRevocationsUntilItsRoleIsDeleted(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.Write("rotate/ci", nil)
	lost := m.ServiceUser(m.AddManaged("broken")).Name
	m.WriteAsNewer("cred/broken")
	for range 2 * 60 {
		m.Clock.Advance(time.Minute)
		_ = m.TickAnyway()
	}
	require.True(t, m.Knows(old), "an unreadable credential stops all revocations")
	status := m.Must(logical.ReadOperation, "status", nil)
	require.Equal(t, int64(1), status.Data["roles_unreadable"])
	require.Equal(t, int64(2), status.Data["roles"])
	require.Empty(t, status.Warnings)
	require.NotContains(t, mounttest.ToJSON(t, status.Data), "broken", "status contains numbers and no names")

	require.Equal(t, "role broken was not deleted: cred/broken"+fromNewer+"; or delete it without the unreadable part with: vault delete modal/roles/broken force=true, "+
		"then check whether its service user is left at Modal with: vault list -detailed modal/orphans", m.Refused(logical.DeleteOperation, "roles/broken", nil))
	done := m.Remove("roles/broken", withForce)

	require.Equal(t, []string{"the current token is unknown and not revoked, because cred/broken" + fromNewer}, mounttest.TokensOf(done))
	require.Equal(t, "check whether the role's service user is left at Modal, and delete it: vault list -detailed modal/orphans", done.Data["next_step"])
	m.Tick()
	require.Equal(t, true, m.Read("status")["out_of_sync"], "the role's service user is an orphan now")
	require.Equal(t, int64(0), m.Read("status")["roles_unreadable"])
	require.Equal(t, []string{lost}, m.List("orphans"))
	m.Write("orphans", map[string]any{"dry_run": false})
	m.Minutes(2)
	require.False(t, m.Knows(old), "revocations continue")
	require.Equal(t, false, m.Read("status")["out_of_sync"])
}

func TestUnreadable_RoleIsDeletedByForceAndItsTokenRevoked(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	current := m.AddManaged("broken")
	m.WriteAsNewer("role/broken")
	require.Equal(t, int64(1), m.Read("status")["roles_unreadable"])
	require.Contains(t, m.Refused(logical.DeleteOperation, "roles/broken", nil), "role/broken"+fromNewer+"; or delete it without the unreadable part")

	done := m.Remove("roles/broken", withForce)

	require.Equal(t, []string{"token " + current + ": revoked, Modal rejects it"}, mounttest.TokensOf(done))
	require.Empty(t, m.Modal.ServiceUsers())
	require.Equal(t, int64(0), m.Read("status")["roles"])
}

func TestUnreadable_StaticTokenIsLeftToTheOperator(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := m.AddRole("broken")
	m.WriteAsNewer("role/broken")
	require.Contains(t, mounttest.TokensOf(m.Remove("roles/broken", withForce))[0], "token "+id+" (version 1): the engine does not revoke it, so delete token "+id)
	require.True(t, m.Knows(id))
}

func TestUnreadable_CredentialWithoutARoleIsCountedAndDeleted(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddRole("broken")
	m.WriteAsNewer("cred/broken")
	require.NoError(t, m.Storage.InmemStorage.Delete(t.Context(), "role/broken")) // an interrupted delete leaves this state
	m.Restart()
	require.Equal(t, int64(1), m.Read("status")["roles_unreadable"])
	m.Remove("roles/broken", withForce)
	require.Equal(t, int64(0), m.Read("status")["roles_unreadable"])
}

func TestUnreadable_RoleAndItsCredentialCountOnce(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("broken")
	m.WriteAsNewer("role/broken")
	m.WriteAsNewer("cred/broken")
	require.Equal(t, int64(1), m.Read("status")["roles_unreadable"])
	require.Equal(t, int64(1), m.Read("status")["roles"])
}

func TestUnreadable_RevocationIsCounted(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	m.WriteAsNewer("revocation/" + old)
	status := m.Must(logical.ReadOperation, "status", nil)
	require.Equal(t, int64(1), status.Data["revocations_unreadable"])
	require.Equal(t, int64(1), status.Data["revocations"])
	require.Empty(t, status.Warnings)
	require.Contains(t, mounttest.TokensOf(m.Remove("roles/ci", nil))[1], "1 revocations cannot be read and may belong to this role; to see why: vault read modal/revocations/"+old)
}

func TestUnreadable_StorageFailureIsNoReasonToDeleteByForce(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Restart()
	m.Storage.Die()
	_, err := m.Handle(logical.DeleteOperation, "roles/ci", withForce)
	require.ErrorIs(t, err, mounttest.ErrCut)
	m.Storage.Heal()
	require.NotEmpty(t, m.Read("creds/ci"))
}

func TestUnreadable_EntriesMakeNoTokenUnknown(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.Write("rotate/ci", nil)
	user := m.LookUp("token_id", m.Read("creds/ci")["token_id"].(string))["service_user"]
	m.WriteAsNewer("revocation/" + old)
	const doubt = "1 revocations cannot be read, and one of them may be this token's; to see why: vault read modal/revocations/"
	stranger := "ak-0123456789abcdefghijkl"
	require.Contains(t, m.Write("lookup", map[string]any{"token_id": stranger}).Warnings, doubt+old)
	require.Contains(t, m.Write("lookup", map[string]any{"service_user": "vault-2f9f1a7c-ci-abcdefgh"}).Warnings, doubt+old)
	require.Contains(t, m.Absent("revocations/"+stranger), doubt+old)
	m.AddRole("personal")
	second := m.TokenID("personal")
	m.Write("rotate/personal", m.NewToken())
	m.WriteAsNewer("revocation/" + second)
	several := strings.Replace(doubt, "1 revocations", "2 revocations", 1) + min(old, second)
	require.Contains(t, m.Write("lookup", map[string]any{"token_id": stranger}).Warnings, several)
	require.Contains(t, m.Absent("revocations/"+stranger), several)

	m.WriteAsNewer("cred/ci")
	for field, value := range map[string]any{"service_user": user, "token_id": stranger} {
		status, text := m.Failed(logical.UpdateOperation, "lookup", map[string]any{field: value})
		require.Equal(t, http.StatusInternalServerError, status)
		require.Equal(t, "cred/ci"+fromNewer, text)
	}
}

func TestUnreadable_ApprovalStopsNoOtherApprovalAndNoOtherWork(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	managed := m.AddManaged("gpu", map[string]any{"rotation_period": "1h", "grace_period": "0"})
	m.AddRole("broken")
	m.AddRole("fine")
	m.Write("rotate/broken/approval", nil)
	m.Write("rotate/fine/approval", nil)
	m.WriteAsNewer("approval/broken")

	m.Tick()
	resp, approved := m.Approved("rotate/fine/approval", m.Member)
	require.Equal(t, "done", resp.Data["state"])
	require.Equal(t, approved.ID, m.TokenID("fine"))
	status, text := m.Failed(logical.ReadOperation, "rotate/broken/approval", nil)
	require.Equal(t, http.StatusInternalServerError, status)
	require.Equal(t, "approval/broken"+fromNewer, text)
	for path, op := range map[string]logical.Operation{"rotate/broken/approval": logical.UpdateOperation, "roles/broken": logical.DeleteOperation} {
		status, text = m.Failed(op, path, nil)
		require.Equal(t, http.StatusInternalServerError, status, path)
		require.Contains(t, text, "approval/broken"+fromNewer, path)
	}
	m.Write("rotate/broken", m.NewToken())
	m.Minutes(65)
	require.NotEqual(t, managed, m.TokenID("gpu"), "the worker rotates")
	require.False(t, m.Knows(managed), "the worker revokes")
	require.Contains(t, m.Logs.String(), "an approval cannot be read")
}

func TestUnreadable_OutOfSyncDeletesNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"grace_period": "1h"})
	m.Write("rotate/ci", nil)
	orphan := m.Workspace.AddServiceUser("vault-2f9f1a7c-lost-abcdefgh")
	m.Clock.Advance(time.Hour)
	m.Tick()
	m.WriteAsNewer("orphans")

	for range 120 {
		m.Clock.Advance(time.Minute)
		require.ErrorContains(t, m.TickAnyway(), "orphans"+fromNewer)
	}

	require.True(t, m.Knows(old))
	require.True(t, m.Knows(orphan.ID))
	require.NotEmpty(t, m.Read("creds/ci"))
	for path, op := range map[string]logical.Operation{"orphans": logical.UpdateOperation, "status": logical.ReadOperation} {
		status, text := m.Failed(op, path, nil)
		require.Equal(t, http.StatusInternalServerError, status, path)
		require.Contains(t, text, "orphans"+fromNewer, path)
	}
}

func TestUnreadable_WorkspaceOrOwnerLetsNoTokenIn(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("config", map[string]any{"pinned_workspace": "acme"})
	current := m.AddRole("ci")
	m.WriteAsNewer("token/" + current)
	for path, data := range map[string]map[string]any{
		"roles/other": {"type": "static", "token_id": current, "token_secret": m.Read("creds/ci")["token_secret"]},
		"config":      {"token_id": current, "token_secret": m.Read("creds/ci")["token_secret"]},
	} {
		status, text := m.Failed(logical.UpdateOperation, path, data)
		require.Equal(t, http.StatusInternalServerError, status, path)
		require.Contains(t, text, "token/"+current+fromNewer, path)
	}
	m.Write("roles/third", mounttest.Also(m.NewToken(), "type", "static"))

	m.Workspace.Rename("acme-inc")
	m.WriteAsNewer("workspace")
	impostor := m.Modal.AddWorkspace("acme").AddMember("mallory")
	for path, data := range map[string]map[string]any{
		"roles/fourth":  mounttest.Also(mounttest.TokenData(impostor.NewToken()), "type", "static"),
		"rotate/third":  mounttest.Also(mounttest.TokenData(impostor.NewToken()), "force", true),
		"config/rotate": mounttest.Also(mounttest.TokenData(impostor.NewToken()), "force", true),
	} {
		status, text := m.Failed(logical.UpdateOperation, path, data)
		require.Equal(t, http.StatusInternalServerError, status, path)
		require.Contains(t, text, "workspace"+fromNewer, path)
	}
	require.NotEmpty(t, m.Read("creds/third"))
}
