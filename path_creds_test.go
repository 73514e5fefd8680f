// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/pelletier/go-toml/v2"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/engine"
	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestCreds_GiveTheTokenRawAndInEveryFormat(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	token := m.newToken(modaltest.ExpiresAt(start.Add(30 * 24 * time.Hour)))
	m.write("roles/ci", also(token, "type", "static", "environment", "staging", "profile", "team.prod"))
	id, secret, url := token["token_id"].(string), token["token_secret"].(string), m.modal.URL()
	env := "MODAL_TOKEN_ID=" + id + "\nMODAL_TOKEN_SECRET=" + secret + "\nMODAL_ENVIRONMENT=staging\nMODAL_SERVER_URL=" + url + "\n"

	creds := m.read("creds/ci")

	text, _ := creds["toml"].(string)
	require.Equal(t, map[string]any{
		"token_id": id, "token_secret": secret, "workspace": "acme", "profile": "team.prod", "environment": "staging", "server_url": url,
		"version": int64(1), "env": env, "toml": text, "expires_at": "2026-03-31T12:00:00Z",
		"ttl": int64(300), "rotation_period": int64(90 * 86400), "last_vault_rotation": "2026-03-01T12:00:00Z",
	}, creds)
	require.Equal(t, map[string]any{
		"MODAL_TOKEN_ID": id, "MODAL_TOKEN_SECRET": secret, "MODAL_ENVIRONMENT": "staging", "MODAL_SERVER_URL": url,
	}, m.read("creds/ci/env"))
	require.Equal(t, map[string]any{"toml": text}, m.read("creds/ci/toml"))
	profile := map[string]any{"token_id": id, "token_secret": secret, "environment": "staging", "server_url": url}
	require.Equal(t, map[string]any{"team.prod": also(profile, "active", true)}, parseTOML(t, text))
	joined, _ := m.read("creds/ci/profile")["toml"].(string)
	require.Equal(t, map[string]any{"team.prod": profile}, parseTOML(t, joined))
}

func TestCreds_LeaveOutWhatIsNotSet(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.remove("config", nil)
	m.write("roles/ci", also(m.newToken(), "type", "static", "verify", false))

	require.ElementsMatch(t, []string{
		"token_id", "token_secret", "profile", "version", "env", "toml", "ttl", "rotation_period", "last_vault_rotation",
	}, keysOf(m.read("creds/ci")))
	require.ElementsMatch(t, []string{"MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"}, keysOf(m.read("creds/ci/env")))
}

func TestCreds_ProfilesOfSeveralRolesJoinIntoOneFile(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	m.addRole("gpu.team")
	m.addRole("7")
	var file strings.Builder
	for _, path := range []string{"creds/ci/toml", "creds/gpu.team/profile", "creds/7/profile"} {
		text, _ := m.read(path)["toml"].(string)
		file.WriteString(text)
	}

	tables := parseTOML(t, file.String())

	require.ElementsMatch(t, []string{"ci", "gpu.team", "7"}, keysOf(tables))
	active := 0
	for _, table := range tables {
		if fields, _ := table.(map[string]any); fields["active"] == true {
			active++
		}
	}
	require.Equal(t, 1, active)
}

func TestCreds_KeepAnsweringWhileModalIsDownAndAskItNothing(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	m.modal.SetOutage(true)
	m.restart()
	asked := len(m.modal.Calls(""))

	for _, path := range []string{"creds/ci", "creds/ci/env", "creds/ci/toml", "creds/ci/profile"} {
		require.NotEmpty(t, m.read(path))
	}

	require.Len(t, m.modal.Calls(""), asked)
}

func TestCreds_AWarmReadMakesNoStorageCall(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	for _, setting := range []string{"configured", "not configured"} {
		m.restart()
		m.read("creds/ci")
		m.storage.heal()

		for _, path := range []string{"creds/ci", "creds/ci/env", "creds/ci/toml", "creds/ci/profile"} {
			m.read(path)
		}

		require.Zero(t, m.storage.calls(), setting)
		m.remove("config", nil)
	}
	m.write("config", map[string]any{"server_url": m.modal.URL()})
	require.Equal(t, m.modal.URL(), m.read("creds/ci/env")["MODAL_SERVER_URL"])
}

func TestCreds_OnlyAnOverdueOrExpiredTokenIsWarnedAbout(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("old", map[string]any{"rotation_period": "10d"})
	m.write("roles/dead", also(m.newToken(modaltest.ExpiresAt(start.Add(20*24*time.Hour))), "type", "static"))
	m.addRole("fine")
	m.clock.advance(20 * 24 * time.Hour)

	for role, warning := range map[string]string{
		"old":  "should have been rotated by 2026-03-11T12:00:00Z: replace it with: vault write modal/rotate/old",
		"dead": "expired on 2026-03-21T12:00:00Z, so Modal refuses it: replace it with: vault write modal/rotate/dead",
	} {
		resp := m.must(logical.ReadOperation, "creds/"+role, nil)
		require.Len(t, resp.Warnings, 1, role)
		require.Contains(t, resp.Warnings[0], warning)
		require.Equal(t, int64(300), resp.Data["ttl"], "what lies behind must not make consumers poll faster")
	}
	require.Empty(t, m.must(logical.ReadOperation, "creds/fine", nil).Warnings)
}

func TestCreds_TTLIsTheRefreshIntervalButNeverPastTheExpiryNorUnderFiveSeconds(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.write("roles/ci", also(m.newToken(modaltest.ExpiresAt(start.Add(10*time.Minute))), "type", "static"))
	for _, step := range []struct {
		advance time.Duration
		ttl     int64
	}{
		{0, 300},
		{6 * time.Minute, 240},
		{3*time.Minute + 58*time.Second, 5},
		{2 * time.Second, 300},
	} {
		m.clock.advance(step.advance)
		require.Equal(t, step.ttl, m.read("creds/ci")["ttl"])
	}
}

// countingView counts how often the engine asks Vault for its replication state.
type countingView struct {
	logical.StaticSystemView
	asked int
}

func (v *countingView) ReplicationState() consts.ReplicationState {
	v.asked++
	return 0
}

func TestCreds_AReadAsksVaultForNothing(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	view := &countingView{}
	b, err := newBackend(t.Context(), &logical.BackendConfig{System: view, StorageView: m.storage}, engine.Deps{Now: m.clock.now, Wait: m.clock.sleep, Connect: connect})
	require.NoError(t, err)
	m.backend = b
	for _, path := range []string{"creds/ci", "creds/ci/env", "creds/ci/toml", "creds/ci/profile"} {
		m.read(path)
	}
	require.Zero(t, view.asked)
	m.read("roles/ci")
	require.NotZero(t, view.asked)
}

func TestCreds_OfAnUnknownRoleAreNotFound(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	for _, path := range []string{"creds/none", "creds/none/env", "creds/none/toml", "creds/none/profile"} {
		require.Nil(t, m.must(logical.ReadOperation, path, nil))
	}
}

func TestCreds_HaveNoLease(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	m.addRole("ci")
	require.Nil(t, m.must(logical.ReadOperation, "creds/ci", nil).Secret)
}

func parseTOML(t *testing.T, text string) map[string]any {
	t.Helper()
	var tables map[string]any
	require.NoError(t, toml.Unmarshal([]byte(text), &tables), text)
	return tables
}

func keysOf(data map[string]any) []string {
	keys := make([]string, 0, len(data))
	for key := range data {
		keys = append(keys, key)
	}
	return keys
}
