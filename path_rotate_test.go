// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestRotate_ReturnsTheNewTokenAndQueuesTheOldToken(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	old := m.addRole("ci", map[string]any{"revoke_previous": false})
	m.clock.advance(time.Hour)
	next := m.newToken()

	answer := m.write("rotate/ci", next).Data

	require.Equal(t, next["token_id"], answer["token_id"])
	require.Equal(t, true, answer["changed"])
	require.Equal(t, int64(2), answer["version"])
	require.Equal(t, old, answer["previous_token_id"])
	require.Equal(t, "manual", answer["method"])
	require.Equal(t, int64(86400), answer["grace_period"])
	require.Equal(t, "2026-03-02T13:00:00Z", answer["not_before"])
	require.Contains(t, answer["next_step"], "modal workspace member-tokens delete "+old)
	require.NotContains(t, answer, "token_secret")

	creds := m.read("creds/ci")
	require.Equal(t, next["token_id"], creds["token_id"])
	require.Equal(t, next["token_secret"], creds["token_secret"])
	require.Equal(t, int64(2), creds["version"])
	require.Equal(t, "2026-03-01T13:00:00Z", creds["last_vault_rotation"])
	require.Equal(t, []string{old}, m.list("revocations"))
	require.Contains(t, m.eventTypes(), "modal/rotate")
	require.Contains(t, m.eventTypes(), "modal/revoke-manual")
}

func TestRotate_ReadShowsTheStateWithoutASecret(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	old := m.addRole("ci", map[string]any{"rotation_period": "30d"})
	m.write("rotate/ci", m.newToken(modaltest.ExpiresAt(start.Add(20*24*time.Hour))))
	m.clock.advance(21 * 24 * time.Hour)

	state := m.read("rotate/ci")

	require.Equal(t, "overdue", state["state"])
	require.Equal(t, "2026-03-21T12:00:00Z", state["next_rotation"], "a token has to be replaced before it expires")
	require.Equal(t, int64(86400), state["late"])
	require.Equal(t, "alice", state["identity"])
	require.Equal(t, "acme", state["workspace"])
	require.Equal(t, []string{old}, state["previous_tokens"])
	for _, secret := range m.modal.Secrets() {
		require.NotContains(t, toJSON(t, state), secret)
	}
}

func TestRotate_LastVaultRotationAlwaysMovesForward(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	last := m.read("creds/ci")["last_vault_rotation"]
	for _, step := range []time.Duration{0, 0, -2 * time.Hour, time.Second} {
		m.clock.advance(step)
		m.write("rotate/ci", m.newToken())
		now := m.read("creds/ci")["last_vault_rotation"]
		require.Greater(t, now, last)
		last = now
	}
}

func TestRotate_ListPutsTheMostUrgentRoleFirst(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("later", map[string]any{"rotation_period": "60d"})
	m.addRole("overdue", map[string]any{"rotation_period": "10d"})
	m.addRole("soon", map[string]any{"rotation_period": "30d"})
	m.clock.advance(11 * 24 * time.Hour)

	resp := m.must(logical.ListOperation, "rotate", nil)

	require.Equal(t, []string{"overdue", "soon", "later"}, resp.Data["keys"])
	info, _ := resp.Data["key_info"].(map[string]any)
	require.Equal(t, map[string]any{
		"type": "static", "version": int64(1), "state": "overdue", "next_rotation": "2026-03-11T12:00:00Z", "urgency": int64(1),
	}, info["overdue"])
}

func TestRotate_SameTokenAgainChangesNothing(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	next := m.newToken()
	m.write("rotate/ci", next)
	before := m.storage.snapshot(t)

	resp := m.write("rotate/ci", next)

	require.Equal(t, int64(2), resp.Data["version"])
	require.Equal(t, false, resp.Data["changed"])
	require.Empty(t, resp.Warnings, "cron mails each warning")
	m.unchangedSince(before)
}

func TestRotate_RefusesATokenOfAnotherOwnerUnlessForced(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	bob := m.workspace.AddMember("bob")
	elsewhere := m.modal.AddWorkspace("globex").AddMember("alice")
	for name, token := range map[string]map[string]any{
		"user": tokenData(bob.NewToken()), "workspace": tokenData(elsewhere.NewToken()),
		"service user": tokenData(m.workspace.AddServiceUser("robot")),
	} {
		text := m.refused(logical.UpdateOperation, "rotate/ci", token)
		require.Contains(t, text, "force=true", name)
		require.Contains(t, text, `user "alice"`, name)
	}
	m.write("rotate/ci", also(tokenData(elsewhere.NewToken()), "force", true))
	require.Equal(t, "globex", m.read("creds/ci")["workspace"])
}

func TestRotate_GracePeriodOfTheCallOverridesTheRole(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	old := m.addRole("ci")

	resp := m.write("rotate/ci", also(m.newToken(), "grace_period", "0"))

	require.Equal(t, int64(0), resp.Data["grace_period"])
	require.Equal(t, "2026-03-01T12:00:00Z", resp.Data["not_before"])
	require.Contains(t, resp.Warnings[0], "grace period of 0s is short")
	m.modal.DeleteToken(old)
	m.tick()
	require.Empty(t, m.list("revocations"))
}

func TestRotate_UnverifiedTokenIsStoredOnRequestWithAWarning(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	m.modal.SetOutage(true)

	resp := m.write("rotate/ci", also(m.newToken(), "verify", false))

	require.Contains(t, resp.Warnings[0], "without asking Modal")
	require.Equal(t, false, resp.Data["verified"])
	require.NotContains(t, m.read("creds/ci"), "workspace")
	m.modal.SetOutage(false)
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", m.newToken()), "force=true")
	m.write("rotate/ci", also(m.newToken(), "force", true))
	require.Equal(t, "acme", m.read("creds/ci")["workspace"])
}

func TestRotate_RightSecretReplacesAnUnverifiedWrongSecret(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	right := m.newToken()
	wrong := also(right, "token_secret", "as-0000000000000000000000", "type", "static", "verify", false)
	m.write("roles/ci", wrong)
	require.Contains(t, m.refused(logical.UpdateOperation, "rotate/ci", also(right, "verify", false)), "verify=true")

	m.write("rotate/ci", right)

	require.Equal(t, right["token_secret"], m.read("creds/ci")["token_secret"])
	require.Equal(t, int64(2), m.read("creds/ci")["version"])
	require.Empty(t, m.list("revocations"))
	require.Contains(t, m.eventTypes(), "modal/rotate")
}

func TestRotate_FailureAtModalChangesNothingAndNamesTheNextStep(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	m.modal.SetOutage(true)

	status, text := m.failed(logical.UpdateOperation, "rotate/ci", m.newToken())

	require.Equal(t, http.StatusBadGateway, status)
	require.Contains(t, text, "nothing was changed: try again")
	require.Contains(t, m.eventTypes(), "modal/rotate-fail")
}
