// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// rotatedOnce returns a mount whose role ci was rotated once, and the ID of the previous token. An operator must revoke
// that token.
func rotatedOnce(t *testing.T, opts ...modaltest.TokenOption) (m *mounttest.Mount, old string) {
	t.Helper()
	m = mounttest.New(t)
	token := m.NewToken(opts...)
	m.Write("roles/ci", mounttest.Also(token, "type", "static", "revoke_previous", false))
	m.Write("rotate/ci", m.NewToken())
	old, _ = token["token_id"].(string)
	return m, old
}

func TestRevocations_ReadNamesTheTokenThePageAndTheCommand(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)

	entry := m.Read("revocations/" + old)

	require.Equal(t, "rotated", entry["reason"])
	require.Equal(t, "manual", entry["method"])
	require.Equal(t, "waiting for an operator", entry["state"], "the operator need not wait for the grace period")
	require.Equal(t, "ci", entry["role"])
	require.Equal(t, int64(1), entry["version"])
	require.Contains(t, entry["next_step"], "delete token "+old+" on https://modal.com/settings/tokens")
	require.Contains(t, entry["next_step"], "but not before the grace period ends at 2026-03-02T12:00:00Z")
	require.Contains(t, entry["next_step"], "modal workspace member-tokens delete "+old)
}

func TestRevocations_NextStepForAServiceUserIsToDeleteIt(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := m.Workspace.AddServiceUser("robot")
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(token), "type", "static"))
	m.Remove("roles/ci", nil)
	require.Contains(t, m.Read("revocations/" + token.ID)["next_step"], `delete service user "robot" (sv-`)
}

func TestRevocations_CheckWithBackOffUntilModalRejectsTheToken(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	m.Tick()
	require.Zero(t, asked(m, old), "not before the grace period ends")

	m.Clock.Advance(24 * time.Hour)
	for range 48 * 60 {
		m.Tick()
		m.Clock.Advance(time.Minute)
	}

	require.Greater(t, asked(m, old), 8)
	require.Less(t, asked(m, old), 30, "the wait doubles up to six hours")
	entry := m.Read("revocations/" + old)
	require.Equal(t, "Modal still accepts the token", entry["last_error"])
	require.NotContains(t, m.EventTypes(), "modal/revoke", "a token is revoked only after Modal rejects it")

	m.Modal.DeleteToken(old)
	for range 6*60 + 1 {
		m.Tick()
		m.Clock.Advance(time.Minute)
	}
	require.Empty(t, m.List("revocations"))
	require.Contains(t, m.EventTypes(), "modal/revoke")
}

func TestRevocations_ExpiredTokenClearsItself(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t, modaltest.ExpiresAt(mounttest.StartTime.Add(2*time.Hour)))
	require.Equal(t, "2026-03-01T14:00:00Z", m.Read("revocations/" + old)["not_before"])
	m.Clock.Advance(2 * time.Hour)
	m.Tick()
	require.Empty(t, m.List("revocations"))
}

func TestRevocations_ListHasTheEarliestDueFirst(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	var want []string
	for _, role := range []struct{ name, grace string }{{"a", "3h"}, {"b", "2h"}, {"c", "1h"}} { // queued in the other order
		want = append([]string{m.AddManaged(role.name, map[string]any{"grace_period": role.grace})}, want...)
		m.Write("rotate/"+role.name, nil)
		m.Clock.Advance(time.Second)
	}

	require.Equal(t, want, m.List("revocations"))
}

func TestLists_HaveShortErrorsAndReadsTheWholeText(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"rotation_period": "1h", "grace_period": "2h"})
	m.Write("rotate/ci", nil)
	m.Modal.SetOutage(true)
	m.Minutes(130)
	for list, key := range map[string]string{"revocations": old, "rotate": "ci", "roles": "ci"} {
		info, _ := m.Must(logical.ListOperation, list, nil).Data["key_info"].(map[string]any)[key].(map[string]any)
		short := mounttest.TextIn(info, "last_error")
		require.NotEmpty(t, short, list)
		require.LessOrEqual(t, len([]rune(short)), 40, list)
	}
	for _, path := range []string{"revocations/" + old, "rotate/ci"} {
		require.Greater(t, len(mounttest.TextIn(m.Read(path), "last_error")), 40, path)
		require.Contains(t, m.Read(path)["last_error"], "the control plane is down", path)
	}
}

func TestRevocations_AnswerNamesTheProof(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	managed, person := m.AddManaged("ci"), m.AddRole("personal", map[string]any{"revoke_previous": false})
	m.Write("rotate/ci", nil)
	m.Write("rotate/personal", m.NewToken())
	require.NotContains(t, m.Write("revocations/"+person, nil).Data, "proof", "Modal still accepts the token")
	m.Modal.DeleteToken(person)
	for id, proof := range map[string]string{managed: "deleted", person: "rejected"} {
		answer := m.Write("revocations/"+id, map[string]any{"force": true}).Data
		require.Equal(t, map[string]any{"revoked": true, "token_id": id, "proof": proof}, answer)
	}
}

func TestRevocations_TellTheTokenOfALeaseAndNoneThatNeverArrived(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", nil)
	m.Write("roles/job", job)
	lease := mounttest.TextIn(m.Must(logical.ReadOperation, "creds/job", nil).Data, "token_id")
	m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	require.Error(t, m.Try(logical.UpdateOperation, "rotate/ci", nil))

	infos, _ := m.Must(logical.ListOperation, "revocations", nil).Data["key_info"].(map[string]any)

	require.Len(t, infos, 3)
	for key, about := range infos {
		info, _ := about.(map[string]any)
		read := m.Read("revocations/" + key)
		require.Equal(t, info["state"], read["state"])
		switch info["state"] {
		case "grace period":
			require.Equal(t, old, key)
			require.NotContains(t, info, "token_id", "the key is the token's ID")
			require.NotContains(t, read, "id")
		case "leased":
			require.Equal(t, lease, info["token_id"])
			require.Equal(t, lease, read["token_id"])
			require.Equal(t, key, read["id"])
		default:
			require.Equal(t, "pending", info["state"])
			require.NotContains(t, info, "token_id")
			require.NotContains(t, read, "token_id")
			require.Equal(t, key, read["id"])
		}
	}
}

func TestRevocations_OutageIsNoProof(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	m.Clock.Advance(24 * time.Hour)
	m.Modal.SetOutage(true)
	m.Tick()
	entry := m.Read("revocations/" + old)
	require.Equal(t, int64(1), entry["attempts"])
	require.Contains(t, entry["last_error"], "the control plane is down")
	require.Equal(t, []string{old}, m.List("revocations"))
}

func TestRevocations_WriteAsksModalNow(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	require.Equal(t, false, m.Write("revocations/"+old, nil).Data["revoked"])
	m.Modal.DeleteToken(old)
	require.Equal(t, true, m.Write("revocations/"+old, nil).Data["revoked"])
	require.Empty(t, m.List("revocations"))
	require.Contains(t, m.Refused(logical.UpdateOperation, "revocations/"+old, nil), "the revocation queue has no token "+old)
}

func TestRevocations_ForgettingAValidTokenNeedsForce(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	resp, err := m.Handle(logical.DeleteOperation, "revocations/"+old, nil)
	require.ErrorIs(t, err, logical.ErrInvalidRequest)
	require.Contains(t, mounttest.ErrorText(resp), "force=true")
	m.Modal.SetOutage(true)
	code, said := m.Failed(logical.DeleteOperation, "revocations/"+old, nil)
	require.Equal(t, http.StatusBadGateway, code, "the failure is Modal's, not the operator's")
	require.Contains(t, said, "could not prove")
	require.Equal(t, []string{old}, m.List("revocations"))

	resp = m.Remove("revocations/"+old, map[string]any{"force": true})

	require.Contains(t, resp.Warnings[0], "without proof")
	require.Empty(t, m.List("revocations"))
	require.NotContains(t, m.EventTypes(), "modal/revoke")
}

func TestRevocations_ForgettingARejectedTokenNeedsNoForce(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	m.Modal.DeleteToken(old)
	require.Nil(t, m.Remove("revocations/"+old, nil))
	require.Empty(t, m.List("revocations"))
}

func TestRevocations_TokenOfADeletedRoleMayReturnToAnotherRole(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := m.NewToken()
	m.Write("roles/ci", mounttest.Also(token, "type", "static"))
	m.Remove("roles/ci", nil)
	id, _ := token["token_id"].(string)
	m.Write("roles/other", mounttest.Also(token, "type", "static"))
	require.Equal(t, id, m.Read("creds/other")["token_id"])
	require.False(t, m.InQueue(id))
}

func TestRevocations_TokenBeingDeletedCannotReturn(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := m.NewToken()
	m.Write("roles/ci", mounttest.Also(token, "type", "static"))
	m.Remove("roles/ci", nil)
	id, _ := token["token_id"].(string)
	m.Modal.Inject("TokenDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	m.Write("revocations/"+id, map[string]any{"force": true})
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/other", mounttest.Also(token, "type", "static")), "is in the revocation queue")
	m.Remove("revocations/"+id, map[string]any{"force": true})
	m.Write("roles/other", mounttest.Also(token, "type", "static"))
}

func TestStandby_DoesNoWorkAndForwardsWrites(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	m.Clock.Advance(24 * time.Hour)
	for _, state := range []consts.ReplicationState{consts.ReplicationPerformanceStandby, consts.ReplicationPerformanceSecondary} {
		m.SetReplication(state)
		m.Storage.Heal()
		calls := len(m.Modal.Calls(""))
		m.Tick()
		for path, op := range map[string]logical.Operation{
			"config": logical.UpdateOperation, "roles/ci": logical.UpdateOperation, "roles/new": logical.CreateOperation,
			"rotate/ci": logical.UpdateOperation, "revocations/" + old: logical.UpdateOperation,
		} {
			_, err := m.HandleRequest(t.Context(), &logical.Request{Operation: op, Path: path, Storage: m.Storage})
			require.ErrorIs(t, err, logical.ErrReadOnly, "%s %s", op, path)
		}
		for _, path := range []string{"config", "roles/ci", "revocations/" + old} {
			_, err := m.HandleRequest(t.Context(), &logical.Request{Operation: logical.DeleteOperation, Path: path, Storage: m.Storage})
			require.ErrorIs(t, err, logical.ErrReadOnly, "delete %s", path)
		}
		require.Empty(t, m.Storage.Recorded())
		require.Len(t, m.Modal.Calls(""), calls)
		require.NotEmpty(t, m.Read("creds/ci"), "every node answers reads")
	}
}

func TestInvalidate_ShowsTheWritesOfAnotherNode(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	other := &mounttest.Mount{}
	*other = *m
	other.Restart()
	other.Read("creds/ci")
	before := m.Storage.Snapshot(t)
	m.Write("rotate/ci", m.NewToken())
	m.Write("roles/ci", map[string]any{"environment": "main"})
	m.Write("config", map[string]any{"request_timeout": "5s"})

	for key, value := range m.Storage.Snapshot(t) {
		if before[key] != value {
			other.InvalidateKey(t.Context(), key)
		}
	}

	require.Equal(t, m.Read("creds/ci"), other.Read("creds/ci"))
	require.Equal(t, m.Read("config"), other.Read("config"))
}

// asked counts how often the engine verified a token after its import.
func asked(m *mounttest.Mount, tokenID string) int {
	n := 0
	for _, call := range m.Modal.Calls("TokenInfoGet") {
		if call.TokenID == tokenID {
			n++
		}
	}
	return n - 1 // the first call was the import
}
