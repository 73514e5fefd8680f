// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"encoding/json"
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
	"pgregory.net/rapid"

	modalsecrets "vault-plugin-secrets-modal"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
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

func TestCreds_WarmReadOfEachKindOfTokenMakesNoStorageCall(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("managed")
	m.AddRole("verified")
	m.Write("roles/unverified", mounttest.Also(m.NewToken(), "type", "static", "verify", false))
	elsewhere := m.NewToken()
	m.Write("roles/elsewhere", mounttest.Also(elsewhere, "type", "static", "verify", false))
	m.Write("roles/owner", mounttest.Also(elsewhere, "type", "static"))
	for _, role := range []string{"managed", "verified", "unverified", "elsewhere"} {
		m.Restart()
		m.Read("creds/" + role)
		m.Storage.Heal()

		for _, path := range mounttest.EveryForm(role) {
			m.Read(path)
		}

		require.Zero(t, m.Storage.Calls(), role)
	}
}

func TestCreds_ARejectedTokenIsReturnedWithTheCommandThatReplacesIt(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	for role, id := range map[string]string{
		"personal": m.AddRole("personal"), "ci": m.AddManaged("ci"), "kept": m.AddManaged("kept", map[string]any{"disable_automated_rotation": true}),
	} {
		before := m.Read("creds/" + role)
		m.Modal.DeleteToken(id)
		m.Write("verify/"+role, nil)
		command := "replace it with: vault write -f modal/rotate/" + role
		if role == "personal" {
			command = "replace it with: vault write modal/rotate/personal token_id="
		}
		for _, path := range mounttest.EveryForm(role) {
			warnings := m.Must(logical.ReadOperation, path, nil).Warnings
			require.Len(t, warnings, 1, path)
			require.Contains(t, warnings[0], "Modal has rejected token "+id, path)
			require.Contains(t, warnings[0], command, path)
		}
		require.Equal(t, before, m.Read("creds/"+role))
	}
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

func TestCreds_ManagedRoleThatWaitsForTheNextTickHasNoWarning(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Clock.Advance(m.NextRotation("ci").Add(model.RotationTolerance).Sub(m.Clock.Now()))
	require.Empty(t, m.Must(logical.ReadOperation, "creds/ci", nil).Warnings)
	m.Clock.Advance(time.Second)
	require.Len(t, m.Must(logical.ReadOperation, "creds/ci", nil).Warnings, 1)
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

// creds contains these keys and no others. Consumers give none of them another meaning.
var (
	alwaysThere = []string{
		"token_id", "token_secret", "profile", "version", "ttl", "rotation_period", "last_vault_rotation",
	}
	sometimesThere = []string{"server_url", "workspace", "environment", "expires_at"}
)

func TestCreds_KeepTheirShapeInEveryStateOfARole(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		m := mounttest.NewManaged(t) // a new mount each time, because a long revocation queue slows down every rotation
		p := &randomRole{m: m, r: r, name: "ci", managed: rapid.Bool().Draw(r, "managed")}
		p.create()
		r.Repeat(map[string]func(*rapid.T){
			"read":    p.readTwice,
			"rotate":  p.rotate,
			"update":  p.update,
			"restart": func(*rapid.T) { m.Restart() },
			"":        p.checkShape,
		})
	})
}

// randomRole is a role that goes through random states.
type randomRole struct {
	m       *mounttest.Mount
	r       *rapid.T
	name    string
	managed bool
	refresh int
	last    map[string]any // the answer of creds since the token last changed
}

func (p *randomRole) policy(r *rapid.T) map[string]any {
	p.refresh = rapid.IntRange(5, 1800).Draw(r, "refresh_interval")
	interval := rapid.IntRange(p.refresh, 100*86400).Draw(r, "rotation_period")
	data := map[string]any{
		"refresh_interval": p.refresh,
		"rotation_period":  interval,
		"environment":      rapid.SampledFrom([]string{"", "main"}).Draw(r, "environment"),
		"profile":          rapid.StringMatching(`([A-Za-z0-9_.-]{1,20})?`).Draw(r, "profile"),
	}
	if p.managed && rapid.Bool().Draw(r, "cron") {
		delete(data, "rotation_period")
		interval = rapid.SampledFrom([]int{1800, 86400, 86401}).Draw(r, "schedule")
		data["rotation_schedule"] = map[int]string{1800: "*/30 * * * *", 86400: "0 3 * * *", 86401: "0 0 1,2 * *"}[interval]
	}
	data["grace_period"] = rapid.IntRange(0, min(86400, 10*interval)).Draw(r, "grace_period")
	if p.managed {
		data["token_ttl"] = rapid.SampledFrom([]any{"", 600, 86400, 100 * 86400}).Draw(r, "token_ttl")
		data["disable_automated_rotation"] = rapid.Bool().Draw(r, "disable_automated_rotation")
	}
	return data
}

func (p *randomRole) token(r *rapid.T) map[string]any {
	var opts []modaltest.TokenOption
	if life := rapid.IntRange(0, 100000).Draw(r, "life"); life > 0 {
		opts = append(opts, modaltest.ExpiresAt(p.m.Clock.Now().Add(time.Duration(life)*time.Second)))
	}
	return mounttest.Also(p.m.NewToken(opts...), "verify", rapid.Bool().Draw(r, "verify"))
}

func (p *randomRole) create() {
	data := map[string]any{"type": "managed", "environment_roles": "main=viewer"}
	if !p.managed {
		data = mounttest.Also(p.token(p.r), "type", "static")
	}
	for field, value := range p.policy(p.r) {
		data[field] = value
	}
	p.m.Write("roles/"+p.name, data)
}

func (p *randomRole) update(r *rapid.T) {
	p.m.Write("roles/"+p.name, p.policy(r))
	p.last = nil
}

func (p *randomRole) rotate(r *rapid.T) {
	before := p.m.Read("creds/" + p.name)
	p.m.Clock.Advance(time.Duration(rapid.IntRange(1, 1000000).Draw(r, "age")) * time.Second)
	token := map[string]any{}
	if !p.managed {
		token = mounttest.Also(p.token(r), "force", true) // an unverified token is no reference for the next owner
	}
	if len(p.m.List("revocations")) >= 10 { // the engine refuses more previous tokens in their grace period
		token["grace_period"] = 0
	}
	p.m.Write("rotate/"+p.name, token)
	after := p.m.Read("creds/" + p.name)
	require.NotEqual(r, before["token_id"], after["token_id"])
	require.NotEqual(r, before["last_vault_rotation"], after["last_vault_rotation"])
	require.Equal(r, before["version"].(int64)+1, after["version"])
	p.last = nil
}

// readTwice compares two reads at different times. Only ttl may differ.
func (p *randomRole) readTwice(r *rapid.T) {
	p.m.Clock.Advance(time.Duration(rapid.IntRange(0, 50*86400).Draw(r, "wait")) * time.Second)
	now := p.m.Read("creds/" + p.name)
	if p.last != nil {
		require.Equal(r, mounttest.Also(p.last, "ttl", nil), mounttest.Also(now, "ttl", nil))
	}
	p.last = now
}

func (p *randomRole) checkShape(r *rapid.T) {
	forms := map[string]map[string]any{}
	for _, path := range mounttest.EveryForm(p.name) {
		resp := p.m.Must(logical.ReadOperation, path, nil)
		require.Nil(r, resp.Secret, path)
		p.checkTypes(r, resp.Data)
		forms[path] = resp.Data
	}
	creds := forms["creds/"+p.name]
	require.Subset(r, keysOf(creds), alwaysThere)
	require.Subset(r, append(append([]string{}, alwaysThere...), sometimesThere...), keysOf(creds))
	ttl, _ := creds["ttl"].(int64)
	require.GreaterOrEqual(r, ttl, int64(5))
	require.LessOrEqual(r, ttl, int64(p.refresh))
	require.GreaterOrEqual(r, creds["rotation_period"], int64(1))
	_, err := time.Parse(time.RFC3339, creds["last_vault_rotation"].(string))
	require.NoError(r, err)
	p.checkFormatsAgree(r, forms)
}

// checkTypes allows strings that are not empty and integers, in memory and as JSON.
func (p *randomRole) checkTypes(r *rapid.T, data map[string]any) {
	for key, value := range data {
		switch v := value.(type) {
		case string:
			require.NotEmpty(r, v, key)
		case int64:
			raw, err := json.Marshal(v)
			require.NoError(r, err)
			require.NotContains(r, string(raw), ".", key)
		default:
			r.Fatalf("%s is a %T", key, value)
		}
	}
}

func (p *randomRole) checkFormatsAgree(r *rapid.T, forms map[string]map[string]any) {
	creds, env, whole := forms["creds/"+p.name], forms["creds/"+p.name+"/env"], forms["creds/"+p.name+"/toml"]
	lines := strings.Split(strings.TrimSuffix(mounttest.TextIn(forms["creds/"+p.name+"/dotenv"], "dotenv"), "\n"), "\n")
	require.Len(r, lines, len(env))
	for _, line := range lines {
		name, value, _ := strings.Cut(line, "=")
		require.Equal(r, env[name], value)
	}
	require.Equal(r, creds["token_id"], env["MODAL_TOKEN_ID"])
	require.Equal(r, creds["token_secret"], env["MODAL_TOKEN_SECRET"])
	tables := parseTOML(p.m.T, mounttest.TextIn(whole, "toml"))
	require.Len(r, tables, 1)
	table, _ := tables[creds["profile"].(string)].(map[string]any)
	require.Equal(r, creds["token_id"], table["token_id"])
	require.Equal(r, creds["token_secret"], table["token_secret"])
	require.Equal(r, true, table["active"])
	for _, key := range []string{"ttl", "rotation_period", "last_vault_rotation"} {
		require.Equal(r, creds[key], whole[key])
	}
}
