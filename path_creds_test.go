// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	modalsecrets "vault-plugin-secrets-modal"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
	"vault-plugin-secrets-modal/internal/state"
)

func TestCreds_EveryFormHasItsOwnPathAndFields(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(30 * 24 * time.Hour)))
	m.Write("roles/ci", mounttest.Also(token, "type", "static", "environment", "staging", "profile", "team.prod"))
	id, secret, url := token["token_id"].(string), token["token_secret"].(string), m.Modal.URL()
	metadata := map[string]any{"ttl": int64(300), "rotation_period": int64(90 * 86400), "last_vault_rotation": "2026-03-01T12:00:00Z"}

	require.Equal(t, mounttest.Also(metadata,
		"token_id", id, "token_secret", secret, "workspace", "acme", "profile", "team.prod", "version", int64(1),
		"environment", "staging", "server_url", url, "expires_at", "2026-03-31T12:00:00Z"), m.Read("creds/ci"))
	require.Equal(t, map[string]any{
		"MODAL_TOKEN_ID": id, "MODAL_TOKEN_SECRET": secret, "MODAL_ENVIRONMENT": "staging", "MODAL_SERVER_URL": url,
	}, m.Read("creds/ci/env"))
	require.Equal(t, mounttest.Also(metadata, "token_id", id, "dotenv",
		"MODAL_TOKEN_ID="+id+"\nMODAL_TOKEN_SECRET="+secret+"\nMODAL_ENVIRONMENT=staging\nMODAL_SERVER_URL="+url+"\n"), m.Read("creds/ci/dotenv"))

	// Modal's own command line writes the file in this form, with Python's toml.dumps.
	profile := "[\"team.prod\"]\ntoken_id = \"" + id + "\"\ntoken_secret = \"" + secret + "\"\nenvironment = \"staging\"\nserver_url = \"" + url + "\"\n"
	require.Equal(t, mounttest.Also(metadata, "token_id", id, "toml", profile+"active = true\n"), m.Read("creds/ci/toml"))
	require.Equal(t, mounttest.Also(metadata, "token_id", id, "toml", profile), m.Read("creds/ci/profile"))
	table := map[string]any{"token_id": id, "token_secret": secret, "environment": "staging", "server_url": url}
	require.Equal(t, map[string]any{"team.prod": mounttest.Also(table, "active", true)}, parseTOML(t, mounttest.TextIn(m.Read("creds/ci/toml"), "toml")))
	require.Equal(t, map[string]any{"team.prod": table}, parseTOML(t, mounttest.TextIn(m.Read("creds/ci/profile"), "toml")))
}

func TestCreds_LeaveOutUnsetFields(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Remove("config", nil)
	token := m.NewToken()
	m.Write("roles/ci", mounttest.Also(token, "type", "static", "verify", false))
	id, secret := mounttest.TextIn(token, "token_id"), mounttest.TextIn(token, "token_secret")

	require.ElementsMatch(t, []string{
		"token_id", "token_secret", "profile", "version", "ttl", "rotation_period", "last_vault_rotation",
	}, keysOf(m.Read("creds/ci")))
	require.ElementsMatch(t, []string{"MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"}, keysOf(m.Read("creds/ci/env")))
	require.Equal(t, "MODAL_TOKEN_ID="+id+"\nMODAL_TOKEN_SECRET="+secret+"\n", m.Read("creds/ci/dotenv")["dotenv"])
	require.Equal(t, "[ci]\ntoken_id = \""+id+"\"\ntoken_secret = \""+secret+"\"\nactive = true\n", m.Read("creds/ci/toml")["toml"])
}

func TestCreds_FilesWorkWithCommonShellTools(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	id := m.AddRole("ci", map[string]any{"environment": "main"})
	m.AddRole("gpu", map[string]any{"profile": "gpu.team"})
	secret := mounttest.TextIn(m.Read("creds/ci"), "token_secret")
	folder := t.TempDir()
	for file, text := range map[string]string{
		"one.toml":  mounttest.TextIn(m.Read("creds/ci/toml"), "toml"),
		"two.toml":  mounttest.TextIn(m.Read("creds/gpu/profile"), "toml") + mounttest.TextIn(m.Read("creds/ci/toml"), "toml"),
		"modal.env": mounttest.TextIn(m.Read("creds/ci/dotenv"), "dotenv"),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600))
	}
	for script, want := range map[string]string{
		`grep token_id one.toml | cut -d'"' -f2`:                                                        id,
		`grep ^token_secret one.toml | cut -d '"' -f 2`:                                                 secret,
		`grep token_secret one.toml | tr -d '"' | cut -d= -f2 | xargs`:                                  secret,
		`awk -F'"' '/^token_secret/ { print $2 }' one.toml`:                                             secret,
		`awk '$1 == "token_id" { gsub(/"/, "", $3); print $3 }' one.toml`:                               id,
		`awk -F' = ' '$1 == "environment" { print $2 }' one.toml | tr -d '"'`:                           "main",
		`sed -n 's/^token_id *= *"\(.*\)"$/\1/p' one.toml`:                                              id,
		`sed -nE 's/^token_secret = "(as-[^"]+)".*/\1/p' one.toml`:                                      secret,
		`sed -n 2p one.toml | cut -d'"' -f2`:                                                            id,
		`sed -n 3p one.toml | cut -d'"' -f2`:                                                            secret,
		`head -n1 one.toml | tr -d '[]"'`:                                                               "ci",
		`tail -n1 one.toml`:                                                                             "active = true",
		`awk '/^\[ci\]/ { on = 1; next } /^\[/ { on = 0 } on' two.toml | grep token_id | cut -d'"' -f2`: id,
		`sed -n '/^\[ci\]/,/^\[/p' two.toml | awk -F'"' '/token_secret/ { print $2 }'`:                  secret,
		`. ./modal.env && echo "$MODAL_TOKEN_ID"`:                                                       id,
		`set -a && . ./modal.env && printenv MODAL_TOKEN_SECRET`:                                        secret,
		`grep ^MODAL_TOKEN_SECRET= modal.env | cut -d= -f2-`:                                            secret,
		`env $(cat modal.env) printenv MODAL_TOKEN_ID`:                                                  id,
	} {
		cmd := exec.CommandContext(t.Context(), "sh", "-eu", "-c", script)
		cmd.Dir = folder
		said, err := cmd.Output()
		require.NoError(t, err, script)
		require.Equal(t, want+"\n", string(said), script)
	}
}

func TestCreds_ProfilesOfSeveralRolesJoinIntoOneFile(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	m.AddRole("gpu.team")
	m.AddRole("7")
	var file strings.Builder
	for _, path := range []string{"creds/ci/toml", "creds/gpu.team/profile", "creds/7/profile"} {
		text, _ := m.Read(path)["toml"].(string)
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

func TestCreds_AnswerDuringAnOutageWithoutCallingModal(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	m.Modal.SetOutage(true)
	m.Restart()
	asked := len(m.Modal.Calls(""))

	for _, path := range mounttest.EveryForm("ci") {
		require.NotEmpty(t, m.Read(path))
	}

	require.Len(t, m.Modal.Calls(""), asked)
}

func TestCreds_WarmReadMakesNoStorageCall(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	for _, setting := range []string{"configured", "not configured"} {
		m.Restart()
		m.Read("creds/ci")
		m.Storage.Heal()

		for _, path := range mounttest.EveryForm("ci") {
			m.Read(path)
		}

		require.Zero(t, m.Storage.Calls(), setting)
		m.Remove("config", nil)
	}
	m.Write("config", map[string]any{"server_url": m.Modal.URL()})
	require.Equal(t, m.Modal.URL(), m.Read("creds/ci/env")["MODAL_SERVER_URL"])
}

func TestCreds_WarnOnlyAboutOverdueAndExpiredTokens(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("old", map[string]any{"rotation_period": "10d"})
	m.Write("roles/dead", mounttest.Also(m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(20*24*time.Hour))), "type", "static"))
	m.AddRole("fine")
	m.Clock.Advance(20 * 24 * time.Hour)

	for role, warning := range map[string]string{
		"old":  "should have been rotated by 2026-03-11T12:00:00Z: replace it with: vault write modal/rotate/old",
		"dead": "expired on 2026-03-21T12:00:00Z, so Modal rejects it: replace it with: vault write modal/rotate/dead",
	} {
		resp := m.Must(logical.ReadOperation, "creds/"+role, nil)
		require.Len(t, resp.Warnings, 1, role)
		require.Contains(t, resp.Warnings[0], warning)
		require.Equal(t, int64(300), resp.Data["ttl"], "a time in the past must not make consumers poll faster")
	}
	require.Empty(t, m.Must(logical.ReadOperation, "creds/fine", nil).Warnings)
}

func TestCreds_TTLIsAtMostTheTimeToExpiryAndAtLeastFiveSeconds(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("roles/ci", mounttest.Also(m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(10*time.Minute))), "type", "static"))
	for _, step := range []struct {
		advance time.Duration
		ttl     int64
	}{
		{0, 300},
		{6 * time.Minute, 240},
		{3*time.Minute + 58*time.Second, 5},
		{2 * time.Second, 300},
	} {
		m.Clock.Advance(step.advance)
		require.Equal(t, step.ttl, m.Read("creds/ci")["ttl"])
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

func TestCreds_ReadDoesNotAskForTheReplicationState(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	view := &countingView{}
	b, err := modalsecrets.New(t.Context(), &logical.BackendConfig{System: view, StorageView: m.Storage}, state.Deps{Now: m.Clock.Now, Wait: m.Clock.Sleep, Connect: mounttest.ConnectWithoutJitter})
	require.NoError(t, err)
	m.Backend = b
	for _, path := range mounttest.EveryForm("ci") {
		m.Read(path)
	}
	require.Zero(t, view.asked)
	m.Read("roles/ci")
	require.NotZero(t, view.asked)
}

func TestCreds_OfAnUnknownRoleAreNotFound(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	for _, path := range mounttest.EveryForm("none") {
		require.Equal(t, "no role is named none: vault list modal/roles names every role", m.Absent(path))
	}
}

func TestCreds_HaveNoLease(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("ci")
	require.Nil(t, m.Must(logical.ReadOperation, "creds/ci", nil).Secret)
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
