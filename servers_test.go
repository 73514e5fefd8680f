// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// Promises about where a stored secret may go.

// anotherModal is a second server with an admin of its own. It keeps the ID of each pair that it is sent.
func (m *mount) anotherModal() (other *modaltest.Server, config map[string]any) {
	m.t.Helper()
	other = modaltest.Start(m.t, modaltest.WithClock(m.clock.now))
	admin := other.AddWorkspace("evil").AddMember("eve").NewToken()
	return other, also(pairData(admin), "server_url", other.URL())
}

// strangersAt are the tokens that a server was sent and that are not its own.
func strangersAt(server *modaltest.Server) []string {
	own, strangers := map[string]bool{}, []string{}
	for _, token := range server.Tokens() {
		own[token.ID] = true
	}
	for _, call := range server.Calls("") {
		if call.TokenID != "" && !own[call.TokenID] {
			strangers = append(strangers, call.Method+" "+call.TokenID)
		}
	}
	return strangers
}

func TestNoStoredPairReachesAServerThatDidNotAcceptIt(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	unproven := also(m.newToken(), "type", "static", "verify", false)
	m.write("roles/unproven", unproven)
	inGrace, due := m.addManaged("managed"), m.addManaged("due")
	m.write("rotate/managed", nil)
	m.write("rotate/due", map[string]any{"grace_period": 0})
	manual := m.addRole("static")
	m.write("rotate/static", m.newToken())
	removed := m.addRole("removed")
	m.remove("roles/removed", nil)
	other, config := m.anotherModal()
	for _, alone := range []map[string]any{{"server_url": other.URL()}, {"server_url": other.URL(), "token_id": "", "token_secret": ""}} {
		m.refused(logical.UpdateOperation, "config", alone)
	}
	require.Empty(t, other.Calls(""))

	m.write("config", config)

	for _, ask := range []struct {
		op   logical.Operation
		path string
		data map[string]any
	}{
		{logical.UpdateOperation, "config", map[string]any{"request_timeout": "5s"}},
		{logical.UpdateOperation, "rotate/managed", map[string]any{"to_previous": true, "dry_run": true}},
		{logical.UpdateOperation, "rotate/managed", map[string]any{"to_previous": true}},
		{logical.UpdateOperation, "rotate/managed", map[string]any{"dry_run": true}},
		{logical.UpdateOperation, "rotate/managed", nil},
		{logical.UpdateOperation, "roles/managed", map[string]any{"environment_roles": "main=viewer"}},
		{logical.UpdateOperation, "rotate/static", map[string]any{"to_previous": true, "dry_run": true}},
		{logical.UpdateOperation, "rotate/static", map[string]any{"to_previous": true}},
		{logical.UpdateOperation, "roles/unproven", also(unproven, "verify", true)},
		{logical.UpdateOperation, "revocations/" + manual, nil},
		{logical.UpdateOperation, "revocations/" + removed, map[string]any{"force": true}},
		{logical.UpdateOperation, "revocations/" + due, nil},
		{logical.UpdateOperation, "revocations/" + inGrace, map[string]any{"force": true}},
		{logical.DeleteOperation, "revocations/" + due, nil},
		{logical.DeleteOperation, "revocations/" + inGrace, nil},
	} {
		_ = m.try(ask.op, ask.path, ask.data)
		require.Empty(t, strangersAt(other), "%s %s", ask.op, ask.path)
	}
	m.clock.advance(91 * day)
	for range 5 {
		m.tick()
		m.clock.advance(6 * time.Hour)
	}
	require.Empty(t, strangersAt(other), "a tick")
	require.NotEmpty(t, other.Calls(""))
	require.True(t, m.inLedger(due), "its own Modal was not asked to end it")
}

func TestATokenIsHandedOutWithItsOwnServerOnly(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addRole("static")
	m.addManaged("managed")
	m.write("roles/unproven", also(m.newToken(), "type", "static", "verify", false))
	other, config := m.anotherModal()

	m.write("config", config)

	for _, name := range []string{"static", "managed", "unproven"} {
		for _, form := range []string{"env", "toml", "profile"} {
			text := toJSON(t, m.read("creds/"+name+"/"+form))
			require.Contains(t, text, m.modal.URL())
			require.NotContains(t, text, other.URL())
		}
	}
	m.write("roles/theirs", also(pairData(other.Workspace("evil").Member("eve").NewToken()), "type", "static"))
	require.Contains(t, toJSON(t, m.read("creds/theirs/toml")), other.URL())
}

func TestWhatWaitsForAnotherServerSaysSoAndGoesOnOnceItIsBack(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", map[string]any{"grace_period": 0})
	_, config := m.anotherModal()
	m.write("config", config)
	m.tick()
	require.Contains(t, m.read("revocations/" + old)["last_error"], m.modal.URL())
	require.True(t, m.knows(old))
	m.write("config", also(m.newToken(), "server_url", m.modal.URL()))
	m.minutes(3)
	require.False(t, m.knows(old))
	require.False(t, m.inLedger(old))
}
