// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

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
