// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// The tests in this file check that a stored secret reaches only the server that accepted it.

// anotherModal starts a second server and returns it with a config write for it. The server records the ID of each token
// that it receives.
func (m *mount) anotherModal() (other *modaltest.Server, config map[string]any) {
	m.t.Helper()
	other = modaltest.Start(m.t, modaltest.WithClock(m.clock.now))
	admin := other.AddWorkspace("evil").AddMember("eve").NewToken()
	return other, also(tokenData(admin), "server_url", other.URL(), "force", true)
}

// foreignTokensAt returns the calls that a server received with a token that it did not create.
func foreignTokensAt(server *modaltest.Server) []string {
	own, foreign := map[string]bool{}, []string{}
	for _, token := range server.Tokens() {
		own[token.ID] = true
	}
	for _, call := range server.Calls("") {
		if call.TokenID != "" && !own[call.TokenID] {
			foreign = append(foreign, call.Method+" "+call.TokenID)
		}
	}
	return foreign
}

func TestSecrets_NoStoredTokenReachesAnotherServer(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	unverified := also(m.newToken(), "type", "static", "verify", false)
	m.write("roles/unverified", unverified)
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
		{logical.UpdateOperation, "roles/unverified", also(unverified, "verify", true)},
		{logical.UpdateOperation, "revocations/" + manual, nil},
		{logical.UpdateOperation, "revocations/" + removed, map[string]any{"force": true}},
		{logical.UpdateOperation, "revocations/" + due, nil},
		{logical.UpdateOperation, "revocations/" + inGrace, map[string]any{"force": true}},
		{logical.DeleteOperation, "revocations/" + due, nil},
		{logical.DeleteOperation, "revocations/" + inGrace, nil},
	} {
		_ = m.try(ask.op, ask.path, ask.data)
		require.Empty(t, foreignTokensAt(other), "%s %s", ask.op, ask.path)
	}
	m.clock.advance(91 * day)
	for range 5 {
		m.tick()
		m.clock.advance(6 * time.Hour)
	}
	require.Empty(t, foreignTokensAt(other), "during a tick")
	require.NotEmpty(t, other.Calls(""))
	require.True(t, m.inQueue(due), "its own server was not asked to delete the token")
}

func TestCreds_ReturnATokenOnlyWithItsOwnServer(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addRole("static")
	m.addManaged("managed")
	m.write("roles/unverified", also(m.newToken(), "type", "static", "verify", false))
	other, config := m.anotherModal()

	m.write("config", config)

	for _, name := range []string{"static", "managed", "unverified"} {
		for _, form := range []string{"env", "toml", "profile"} {
			text := toJSON(t, m.read("creds/"+name+"/"+form))
			require.Contains(t, text, m.modal.URL())
			require.NotContains(t, text, other.URL())
		}
	}
	m.write("roles/theirs", also(tokenData(other.Workspace("evil").Member("eve").NewToken()), "type", "static"))
	require.Contains(t, toJSON(t, m.read("creds/theirs/toml")), other.URL())
}

func TestRevocation_WaitsForTheServerOfItsToken(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci")
	m.write("rotate/ci", map[string]any{"grace_period": 0})
	_, config := m.anotherModal()
	m.write("config", config)
	m.tick()
	require.Contains(t, m.read("revocations/" + old)["last_error"], m.modal.URL())
	require.True(t, m.knows(old))
	m.write("config", also(m.newToken(), "server_url", m.modal.URL(), "force", true))
	m.minutes(3)
	require.False(t, m.knows(old))
	require.False(t, m.inQueue(old))
}

// secureMount returns a mount that uses Modal over TLS and trusts only the server's certificate.
func secureMount(t *testing.T) (m *mount, member *modaltest.Member, address string, stop func()) {
	t.Helper()
	m = newMount(t)
	secure, address, stop := serveTLS(t, m, "127.0.0.1:0")
	m.write("config", map[string]any{"server_url": "https://" + address, "ca_cert": secure.CACert()})
	return m, secure.AddWorkspace("acme").AddMember("alice"), address, stop
}

// serveTLS serves an emulated Modal over TLS at an address, with a new certificate.
func serveTLS(t *testing.T, m *mount, at string) (server *modaltest.Server, address string, stop func()) {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", at)
	require.NoError(t, err)
	server = modaltest.New(modaltest.WithTLS(), modaltest.WithClock(m.clock.now))
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	var once sync.Once
	stop = func() { once.Do(func() { server.Close(); require.NoError(t, <-served) }) }
	t.Cleanup(stop)
	return server, listener.Addr().String(), stop
}

func TestConfig_FakeServerUnderAnotherCAGetsNoStoredSecret(t *testing.T) {
	t.Parallel()
	for name, with := range map[string]struct{ admin, removed bool }{
		"no admin token": {}, "an admin token": {admin: true}, "an admin token that is removed before": {admin: true, removed: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, member, address, stop := secureMount(t)
			if with.admin {
				m.write("config", tokenData(member.NewToken()))
			}
			m.write("roles/ci", also(tokenData(member.NewToken()), "type", "static"))
			stop()
			evil, _, _ := serveTLS(t, m, address)
			mallory := evil.AddWorkspace("acme").AddMember("mallory")
			write := map[string]any{"ca_cert": evil.CACert()}

			switch {
			case with.removed:
				m.write("config", map[string]any{"remove_admin_token": true})
				require.Contains(t, m.refused(logical.UpdateOperation, "config", write), "the secrets of 2 stored tokens of this mount")
			case with.admin:
				require.Contains(t, m.refused(logical.UpdateOperation, "config", also(write, "force", true)), "is sent only to the server that accepted it")
				require.Contains(t, m.refused(logical.UpdateOperation, "config", also(write, "remove_admin_token", true, "force", true)), "is sent only to the server that accepted it")
				write = also(write, "token_id", "", "token_secret", "")
				require.Contains(t, m.refused(logical.UpdateOperation, "config", write), "are empty")
				brought := also(tokenData(mallory.NewToken()), "ca_cert", evil.CACert())
				require.Contains(t, m.refused(logical.UpdateOperation, "config", brought), "the secrets of 2 stored tokens of this mount", "the role's token and the replaced admin token")
			default:
				require.Contains(t, m.refused(logical.UpdateOperation, "config", write), "the secrets of 1 stored token of this mount")
			}
			_ = m.try(logical.UpdateOperation, "verify/ci", nil)
			m.clock.advance(2 * day)
			_ = m.try(logical.RollbackOperation, "", nil)

			require.Empty(t, foreignTokensAt(evil))
			if !with.admin {
				m.write("config", also(write, "force", true))
				_ = m.try(logical.UpdateOperation, "verify/ci", nil)
				require.NotEmpty(t, foreignTokensAt(evil), "an operator accepted the new CA")
			}
		})
	}
}

func TestConfig_AddingACertificateNeedsForceAndRemovingDoesNot(t *testing.T) {
	t.Parallel()
	m, member, _, _ := secureMount(t)
	own := textIn(m.read("config"), "ca_cert")
	another := modaltest.Start(t, modaltest.WithTLS()).CACert()
	m.write("config", map[string]any{"ca_cert": own + another})
	m.write("roles/ci", also(tokenData(member.NewToken()), "type", "static"))

	m.write("config", map[string]any{"ca_cert": another + "# the same\n" + own})
	m.write("config", map[string]any{"ca_cert": own})
	for _, adds := range []map[string]any{{"ca_cert": own + another}, {"ca_cert": ""}, {"server_url": "", "ca_cert": ""}, {"server_url": m.modal.URL()}} {
		text := m.refused(logical.UpdateOperation, "config", adds)
		require.Contains(t, text, "1 stored token", adds)
	}
	resp, err := m.handle(logical.DeleteOperation, "config", nil)
	require.ErrorIs(t, err, logical.ErrInvalidRequest)
	require.Contains(t, errorText(resp), "1 stored token")
	m.write("config", map[string]any{"ca_cert": "", "force": true})
	require.Contains(t, m.refused(logical.UpdateOperation, "config", map[string]any{"ca_cert": own}), "1 stored token", "a bundle adds its certificates")
	m.write("config", map[string]any{"ca_cert": own, "force": true})
	m.remove("config", map[string]any{"force": true})
}

func TestConfig_RefusalOfANewCACountsARunningApproval(t *testing.T) {
	t.Parallel()
	m, _, _, _ := secureMount(t)
	m.write("config/approval", nil)
	another := map[string]any{"ca_cert": modaltest.Start(t, modaltest.WithTLS()).CACert()}
	require.Contains(t, m.refused(logical.UpdateOperation, "config", another), "1 stored token")
	m.remove("config/approval", nil)
	require.Contains(t, m.refused(logical.UpdateOperation, "config", another), "1 stored token", "the engine still polls the canceled approval")
}
