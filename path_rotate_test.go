// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestRotate_ReturnsTheNewTokenAndQueuesTheOldToken(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci", map[string]any{"revoke_previous": false})
	m.Clock.Advance(time.Hour)
	next := m.NewToken()

	answer := m.Write("rotate/ci", next).Data

	require.Equal(t, next["token_id"], answer["token_id"])
	require.Equal(t, true, answer["changed"])
	require.Equal(t, int64(2), answer["version"])
	require.Equal(t, old, answer["previous_token_id"])
	require.Equal(t, "manual", answer["method"])
	require.Equal(t, int64(86400), answer["grace_period"])
	require.Equal(t, "2026-03-02T13:00:00Z", answer["not_before"])
	require.Contains(t, answer["next_step"], "modal workspace member-tokens delete "+old)
	require.NotContains(t, answer, "token_secret")

	creds := m.Read("creds/ci")
	require.Equal(t, next["token_id"], creds["token_id"])
	require.Equal(t, next["token_secret"], creds["token_secret"])
	require.Equal(t, int64(2), creds["version"])
	require.Equal(t, "2026-03-01T13:00:00Z", creds["last_vault_rotation"])
	require.Equal(t, []string{old}, m.List("revocations"))
	require.Contains(t, m.EventTypes(), "modal/rotate")
	require.Contains(t, m.EventTypes(), "modal/revoke-manual")
}

func TestRotate_ReadShowsTheStateWithoutASecret(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci", map[string]any{"rotation_period": "30d"})
	m.Write("rotate/ci", m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(20*24*time.Hour))))
	m.Clock.Advance(21 * 24 * time.Hour)

	state := m.Read("rotate/ci")

	require.Equal(t, "overdue", state["state"])
	require.Equal(t, "2026-03-21T12:00:00Z", state["next_rotation"], "a token has to be replaced before it expires")
	require.Equal(t, int64(86400), state["late"])
	require.Equal(t, "alice", state["identity"])
	require.Equal(t, "acme", state["workspace"])
	require.Equal(t, []string{old}, state["previous_tokens"])
	require.False(t, m.HoldsSecret(mounttest.ToJSON(t, state)))
}

func TestRotate_LastVaultRotationAlwaysMovesForward(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	last := m.Read("creds/ci")["last_vault_rotation"]
	for _, step := range []time.Duration{0, 0, -2 * time.Hour, time.Second} {
		m.Clock.Advance(step)
		m.Write("rotate/ci", m.NewToken())
		now := m.Read("creds/ci")["last_vault_rotation"]
		require.Greater(t, now, last)
		last = now
	}
}

func TestRotate_ListPutsTheMostUrgentRoleFirst(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("later", map[string]any{"rotation_period": "60d"})
	m.AddRole("overdue", map[string]any{"rotation_period": "10d"})
	m.AddRole("soon", map[string]any{"rotation_period": "30d"})
	m.Clock.Advance(11 * 24 * time.Hour)

	resp := m.Must(logical.ListOperation, "rotate", nil)

	require.Equal(t, []string{"overdue", "soon", "later"}, resp.Data["keys"])
	info, _ := resp.Data["key_info"].(map[string]any)
	require.Equal(t, map[string]any{
		"type": "static", "version": int64(1), "state": "overdue", "next_rotation": "2026-03-11T12:00:00Z", "urgency": int64(1),
	}, info["overdue"])
}

func TestRotate_SameTokenAgainChangesNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	next := m.NewToken()
	m.Write("rotate/ci", next)
	before := m.Storage.Snapshot(t)

	resp := m.Write("rotate/ci", next)

	require.Equal(t, int64(2), resp.Data["version"])
	require.Equal(t, false, resp.Data["changed"])
	require.Empty(t, resp.Warnings, "cron mails each warning")
	m.UnchangedSince(before)
}

func TestRotate_RefusesATokenOfAnotherOwnerUnlessForced(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	bob := m.Workspace.AddMember("bob")
	elsewhere := m.Modal.AddWorkspace("globex").AddMember("alice")
	for name, token := range map[string]map[string]any{
		"user": mounttest.TokenData(bob.NewToken()), "workspace": mounttest.TokenData(elsewhere.NewToken()),
		"service user": mounttest.TokenData(m.Workspace.AddServiceUser("robot")),
	} {
		text := m.Refused(logical.UpdateOperation, "rotate/ci", token)
		require.Contains(t, text, "force=true", name)
		require.Contains(t, text, `user "alice"`, name)
	}
	m.Write("rotate/ci", mounttest.Also(mounttest.TokenData(elsewhere.NewToken()), "force", true))
	require.Equal(t, "globex", m.Read("creds/ci")["workspace"])
}

func TestRotate_GracePeriodOfTheCallOverridesTheRole(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	old := m.AddRole("ci")

	resp := m.Write("rotate/ci", mounttest.Also(m.NewToken(), "grace_period", "0"))

	require.Equal(t, int64(0), resp.Data["grace_period"])
	require.Equal(t, "2026-03-01T12:00:00Z", resp.Data["not_before"])
	require.Contains(t, resp.Warnings[0], "grace period of 0s is short")
	m.Modal.DeleteToken(old)
	m.Tick()
	require.Empty(t, m.List("revocations"))
}

func TestRotate_UnverifiedTokenIsStoredOnRequestWithAWarning(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	m.Modal.SetOutage(true)

	resp := m.Write("rotate/ci", mounttest.Also(m.NewToken(), "verify", false))

	require.Contains(t, resp.Warnings[0], "without asking Modal")
	require.Equal(t, false, resp.Data["verified"])
	require.NotContains(t, m.Read("creds/ci"), "workspace")
	m.Modal.SetOutage(false)
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", m.NewToken()), "force=true")
	m.Write("rotate/ci", mounttest.Also(m.NewToken(), "force", true))
	require.Equal(t, "acme", m.Read("creds/ci")["workspace"])
}

func TestRotate_RightSecretReplacesAnUnverifiedWrongSecret(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	right := m.NewToken()
	wrong := mounttest.Also(right, "token_secret", "as-0000000000000000000000", "type", "static", "verify", false)
	m.Write("roles/ci", wrong)
	require.Contains(t, m.Refused(logical.UpdateOperation, "rotate/ci", mounttest.Also(right, "verify", false)), "verify=true")

	m.Write("rotate/ci", right)

	require.Equal(t, right["token_secret"], m.Read("creds/ci")["token_secret"])
	require.Equal(t, int64(2), m.Read("creds/ci")["version"])
	require.Empty(t, m.List("revocations"))
	require.Contains(t, m.EventTypes(), "modal/rotate")
}

func TestRotate_FailureAtModalChangesNothingAndNamesTheNextStep(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	m.Modal.SetOutage(true)

	status, text := m.Failed(logical.UpdateOperation, "rotate/ci", m.NewToken())

	require.Equal(t, http.StatusBadGateway, status)
	require.Contains(t, text, "nothing was changed: try again")
	require.Contains(t, m.EventTypes(), "modal/rotate-fail")
}
