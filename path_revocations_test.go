// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// rotatedOnce returns a mount whose role ci was rotated once, and the ID of the previous token. An operator must revoke
// that token.
func rotatedOnce(t *testing.T, opts ...modaltest.TokenOption) (m *mount, old string) {
	t.Helper()
	m = newMount(t)
	token := m.newToken(opts...)
	m.write("roles/ci", also(token, "type", "static", "revoke_previous", false))
	m.write("rotate/ci", m.newToken())
	old, _ = token["token_id"].(string)
	return m, old
}

func TestRevocations_ReadNamesTheTokenThePageAndTheCommand(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)

	entry := m.read("revocations/" + old)

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
	m := newMount(t)
	token := m.workspace.AddServiceUser("robot")
	m.write("roles/ci", also(tokenData(token), "type", "static"))
	m.remove("roles/ci", nil)
	require.Contains(t, m.read("revocations/" + token.ID)["next_step"], `delete service user "robot" (sv-`)
}

func TestRevocations_CheckWithBackOffUntilModalRejectsTheToken(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	m.tick()
	require.Zero(t, asked(m, old), "not before the grace period ends")

	m.clock.advance(24 * time.Hour)
	for range 48 * 60 {
		m.tick()
		m.clock.advance(time.Minute)
	}

	require.Greater(t, asked(m, old), 8)
	require.Less(t, asked(m, old), 30, "the wait doubles up to six hours")
	entry := m.read("revocations/" + old)
	require.Equal(t, "Modal still accepts the token", entry["last_error"])
	require.NotContains(t, m.eventTypes(), "modal/revoke", "a token is revoked only after Modal rejects it")

	m.modal.DeleteToken(old)
	for range 6*60 + 1 {
		m.tick()
		m.clock.advance(time.Minute)
	}
	require.Empty(t, m.list("revocations"))
	require.Contains(t, m.eventTypes(), "modal/revoke")
}

func TestRevocations_ExpiredTokenClearsItself(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t, modaltest.ExpiresAt(start.Add(2*time.Hour)))
	require.Equal(t, "2026-03-01T14:00:00Z", m.read("revocations/" + old)["not_before"])
	m.clock.advance(2 * time.Hour)
	m.tick()
	require.Empty(t, m.list("revocations"))
}

func TestRevocations_OutageIsNoProof(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	m.clock.advance(24 * time.Hour)
	m.modal.SetOutage(true)
	m.tick()
	entry := m.read("revocations/" + old)
	require.Equal(t, int64(1), entry["attempts"])
	require.Contains(t, entry["last_error"], "the control plane is down")
	require.Equal(t, []string{old}, m.list("revocations"))
}

func TestRevocations_WriteAsksModalNow(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	require.Equal(t, false, m.write("revocations/"+old, nil).Data["revoked"])
	m.modal.DeleteToken(old)
	require.Equal(t, true, m.write("revocations/"+old, nil).Data["revoked"])
	require.Empty(t, m.list("revocations"))
	require.Contains(t, m.refused(logical.UpdateOperation, "revocations/"+old, nil), "the revocation queue has no token "+old)
}

func TestRevocations_ForgettingAValidTokenNeedsForce(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	resp, err := m.handle(logical.DeleteOperation, "revocations/"+old, nil)
	require.ErrorIs(t, err, logical.ErrInvalidRequest)
	require.Contains(t, errorText(resp), "force=true")
	m.modal.SetOutage(true)
	code, said := m.failed(logical.DeleteOperation, "revocations/"+old, nil)
	require.Equal(t, http.StatusBadGateway, code, "the failure is Modal's, not the operator's")
	require.Contains(t, said, "could not prove")
	require.Equal(t, []string{old}, m.list("revocations"))

	resp = m.remove("revocations/"+old, map[string]any{"force": true})

	require.Contains(t, resp.Warnings[0], "without proof")
	require.Empty(t, m.list("revocations"))
	require.NotContains(t, m.eventTypes(), "modal/revoke")
}

func TestRevocations_ForgettingARejectedTokenNeedsNoForce(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	m.modal.DeleteToken(old)
	require.Nil(t, m.remove("revocations/"+old, nil))
	require.Empty(t, m.list("revocations"))
}

func TestRevocations_TokenOfADeletedRoleMayReturnToAnotherRole(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	token := m.newToken()
	m.write("roles/ci", also(token, "type", "static"))
	m.remove("roles/ci", nil)
	id, _ := token["token_id"].(string)
	m.write("roles/other", also(token, "type", "static"))
	require.Equal(t, id, m.read("creds/other")["token_id"])
	require.False(t, m.inQueue(id))
}

func TestRevocations_TokenBeingDeletedCannotReturn(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	token := m.newToken()
	m.write("roles/ci", also(token, "type", "static"))
	m.remove("roles/ci", nil)
	id, _ := token["token_id"].(string)
	m.modal.Inject("TokenDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	m.write("revocations/"+id, map[string]any{"force": true})
	require.Contains(t, m.refused(logical.UpdateOperation, "roles/other", also(token, "type", "static")), "is in the revocation queue")
	m.remove("revocations/"+id, map[string]any{"force": true})
	m.write("roles/other", also(token, "type", "static"))
}

func TestStandby_DoesNoWorkAndForwardsWrites(t *testing.T) {
	t.Parallel()
	m, old := rotatedOnce(t)
	m.clock.advance(24 * time.Hour)
	for _, state := range []consts.ReplicationState{consts.ReplicationPerformanceStandby, consts.ReplicationPerformanceSecondary} {
		m.setReplication(state)
		m.storage.heal()
		calls := len(m.modal.Calls(""))
		m.tick()
		for path, op := range map[string]logical.Operation{
			"config": logical.UpdateOperation, "roles/ci": logical.UpdateOperation, "roles/new": logical.CreateOperation,
			"rotate/ci": logical.UpdateOperation, "revocations/" + old: logical.UpdateOperation,
		} {
			_, err := m.HandleRequest(t.Context(), &logical.Request{Operation: op, Path: path, Storage: m.storage})
			require.ErrorIs(t, err, logical.ErrReadOnly, "%s %s", op, path)
		}
		for _, path := range []string{"config", "roles/ci", "revocations/" + old} {
			_, err := m.HandleRequest(t.Context(), &logical.Request{Operation: logical.DeleteOperation, Path: path, Storage: m.storage})
			require.ErrorIs(t, err, logical.ErrReadOnly, "delete %s", path)
		}
		require.Empty(t, m.storage.recorded())
		require.Len(t, m.modal.Calls(""), calls)
		require.NotEmpty(t, m.read("creds/ci"), "every node answers reads")
	}
}

func TestInvalidate_ShowsTheWritesOfAnotherNode(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	other := &mount{}
	*other = *m
	other.restart()
	other.read("creds/ci")
	before := m.storage.snapshot(t)
	m.write("rotate/ci", m.newToken())
	m.write("roles/ci", map[string]any{"environment": "main"})
	m.write("config", map[string]any{"request_timeout": "5s"})

	for key, value := range m.storage.snapshot(t) {
		if before[key] != value {
			other.InvalidateKey(t.Context(), key)
		}
	}

	require.Equal(t, m.read("creds/ci"), other.read("creds/ci"))
	require.Equal(t, m.read("config"), other.read("config"))
}

// asked counts how often the engine verified a token after its import.
func asked(m *mount, tokenID string) int {
	n := 0
	for _, call := range m.modal.Calls("TokenInfoGet") {
		if call.TokenID == tokenID {
			n++
		}
	}
	return n - 1 // the first call was the import
}
