// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// The tests in this file check that a stored secret reaches only the server that accepted it.

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
	m := mounttest.NewManaged(t)
	unverified := mounttest.Also(m.NewToken(), "type", "static", "verify", false)
	m.Write("roles/unverified", unverified)
	inGrace, due := m.AddManaged("managed"), m.AddManaged("due")
	m.Write("rotate/managed", nil)
	m.Write("rotate/due", map[string]any{"grace_period": 0})
	manual := m.AddRole("static")
	m.Write("rotate/static", m.NewToken())
	removed := m.AddRole("removed")
	m.Remove("roles/removed", nil)
	other, config := m.AnotherModal()
	for _, alone := range []map[string]any{{"server_url": other.URL()}, {"server_url": other.URL(), "token_id": "", "token_secret": ""}} {
		m.Refused(logical.UpdateOperation, "config", alone)
	}
	require.Empty(t, other.Calls(""))

	m.Write("config", config)

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
		{logical.UpdateOperation, "roles/unverified", mounttest.Also(unverified, "verify", true)},
		{logical.UpdateOperation, "revocations/" + manual, nil},
		{logical.UpdateOperation, "revocations/" + removed, map[string]any{"force": true}},
		{logical.UpdateOperation, "revocations/" + due, nil},
		{logical.UpdateOperation, "revocations/" + inGrace, map[string]any{"force": true}},
		{logical.DeleteOperation, "revocations/" + due, nil},
		{logical.DeleteOperation, "revocations/" + inGrace, nil},
	} {
		_ = m.Try(ask.op, ask.path, ask.data)
		require.Empty(t, foreignTokensAt(other), "%s %s", ask.op, ask.path)
	}
	m.Clock.Advance(91 * mounttest.Day)
	for range 5 {
		m.Tick()
		m.Clock.Advance(6 * time.Hour)
	}
	require.Empty(t, foreignTokensAt(other), "during a tick")
	require.NotEmpty(t, other.Calls(""))
	require.True(t, m.InQueue(due), "its own server was not asked to delete the token")
}

func TestCreds_ReturnATokenOnlyWithItsOwnServer(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddRole("static")
	m.AddManaged("managed")
	m.Write("roles/unverified", mounttest.Also(m.NewToken(), "type", "static", "verify", false))
	other, config := m.AnotherModal()

	m.Write("config", config)

	for _, name := range []string{"static", "managed", "unverified"} {
		for _, form := range []string{"env", "toml", "profile"} {
			text := mounttest.ToJSON(t, m.Read("creds/"+name+"/"+form))
			require.Contains(t, text, m.Modal.URL())
			require.NotContains(t, text, other.URL())
		}
	}
	m.Write("roles/theirs", mounttest.Also(mounttest.TokenData(other.Workspace("evil").Member("eve").NewToken()), "type", "static"))
	require.Contains(t, mounttest.ToJSON(t, m.Read("creds/theirs/toml")), other.URL())
}

func TestRevocation_WaitsForTheServerOfItsToken(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci")
	m.Write("rotate/ci", map[string]any{"grace_period": 0})
	_, config := m.AnotherModal()
	m.Write("config", config)
	m.Tick()
	require.Contains(t, m.Read("revocations/" + old)["last_error"], m.Modal.URL())
	require.True(t, m.Knows(old))
	m.Write("config", mounttest.Also(m.NewToken(), "server_url", m.Modal.URL(), "force", true))
	m.Minutes(3)
	require.False(t, m.Knows(old))
	require.False(t, m.InQueue(old))
}

// secureMount returns a mount that uses Modal over TLS and trusts only the server's certificate.
func secureMount(t *testing.T) (m *mounttest.Mount, member *modaltest.Member, address string, stop func()) {
	t.Helper()
	m = mounttest.New(t)
	secure, address, stop := serveTLS(t, m, "127.0.0.1:0")
	m.Write("config", map[string]any{"server_url": "https://" + address, "ca_cert": secure.CACert()})
	return m, secure.AddWorkspace("acme").AddMember("alice"), address, stop
}

// serveTLS serves an emulated Modal over TLS at an address, with a new certificate.
func serveTLS(t *testing.T, m *mounttest.Mount, at string) (server *modaltest.Server, address string, stop func()) {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", at)
	require.NoError(t, err)
	server = modaltest.New(modaltest.WithTLS(), modaltest.WithClock(m.Clock.Now))
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
				m.Write("config", mounttest.TokenData(member.NewToken()))
			}
			m.Write("roles/ci", mounttest.Also(mounttest.TokenData(member.NewToken()), "type", "static"))
			stop()
			evil, _, _ := serveTLS(t, m, address)
			mallory := evil.AddWorkspace("acme").AddMember("mallory")
			write := map[string]any{"ca_cert": evil.CACert()}

			switch {
			case with.removed:
				m.Write("config", map[string]any{"remove_admin_token": true})
				require.Contains(t, m.Refused(logical.UpdateOperation, "config", write), "the secrets of 2 stored tokens of this mount")
			case with.admin:
				require.Contains(t, m.Refused(logical.UpdateOperation, "config", mounttest.Also(write, "force", true)), "is sent only to the server that accepted it")
				require.Contains(t, m.Refused(logical.UpdateOperation, "config", mounttest.Also(write, "remove_admin_token", true, "force", true)), "is sent only to the server that accepted it")
				write = mounttest.Also(write, "token_id", "", "token_secret", "")
				require.Contains(t, m.Refused(logical.UpdateOperation, "config", write), "are empty")
				brought := mounttest.Also(mounttest.TokenData(mallory.NewToken()), "ca_cert", evil.CACert())
				require.Contains(t, m.Refused(logical.UpdateOperation, "config", brought), "the secrets of 2 stored tokens of this mount", "the role's token and the replaced admin token")
			default:
				require.Contains(t, m.Refused(logical.UpdateOperation, "config", write), "the secrets of 1 stored token of this mount")
			}
			_ = m.Try(logical.UpdateOperation, "verify/ci", nil)
			m.Clock.Advance(2 * mounttest.Day)
			_ = m.Try(logical.RollbackOperation, "", nil)

			require.Empty(t, foreignTokensAt(evil))
			if !with.admin {
				m.Write("config", mounttest.Also(write, "force", true))
				_ = m.Try(logical.UpdateOperation, "verify/ci", nil)
				require.NotEmpty(t, foreignTokensAt(evil), "an operator accepted the new CA")
			}
		})
	}
}

func TestConfig_AddingACertificateNeedsForceAndRemovingDoesNot(t *testing.T) {
	t.Parallel()
	m, member, _, _ := secureMount(t)
	own := mounttest.TextIn(m.Read("config"), "ca_cert")
	another := modaltest.Start(t, modaltest.WithTLS()).CACert()
	m.Write("config", map[string]any{"ca_cert": own + another})
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(member.NewToken()), "type", "static"))

	m.Write("config", map[string]any{"ca_cert": another + "# the same\n" + own})
	m.Write("config", map[string]any{"ca_cert": own})
	for _, adds := range []map[string]any{{"ca_cert": own + another}, {"ca_cert": ""}, {"server_url": "", "ca_cert": ""}, {"server_url": m.Modal.URL()}} {
		text := m.Refused(logical.UpdateOperation, "config", adds)
		require.Contains(t, text, "1 stored token", adds)
	}
	resp, err := m.Handle(logical.DeleteOperation, "config", nil)
	require.ErrorIs(t, err, logical.ErrInvalidRequest)
	require.Contains(t, mounttest.ErrorText(resp), "1 stored token")
	m.Write("config", map[string]any{"ca_cert": "", "force": true})
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", map[string]any{"ca_cert": own}), "1 stored token", "a bundle adds its certificates")
	m.Write("config", map[string]any{"ca_cert": own, "force": true})
	m.Remove("config", map[string]any{"force": true})
}

func TestConfig_AnyChangeOfTheCANeedsAnAdminTokenWhereOneIsStored(t *testing.T) {
	t.Parallel()
	m, member, _, _ := secureMount(t)
	own := mounttest.TextIn(m.Read("config"), "ca_cert")
	another := modaltest.Start(t, modaltest.WithTLS()).CACert()
	admin := mounttest.TokenData(member.NewToken())
	m.Write("config", mounttest.Also(admin, "ca_cert", own+another))

	for _, bundle := range []string{own, another, own + another + modaltest.Start(t, modaltest.WithTLS()).CACert(), ""} {
		for _, force := range []bool{false, true} {
			require.Contains(t, m.Refused(logical.UpdateOperation, "config", map[string]any{"ca_cert": bundle, "force": force}), "admin token")
		}
	}

	m.Write("config", mounttest.Also(admin, "ca_cert", own))
}

func TestConfig_RefusalOfANewCACountsARunningApproval(t *testing.T) {
	t.Parallel()
	m, _, _, _ := secureMount(t)
	m.Write("config/approval", nil)
	another := map[string]any{"ca_cert": modaltest.Start(t, modaltest.WithTLS()).CACert()}
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", another), "1 stored token")
	m.Remove("config/approval", nil)
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", another), "1 stored token", "the engine still polls the canceled approval")
}

func TestConfig_WarnsAboutMemberTokensOfAServerItNoLongerReaches(t *testing.T) {
	t.Parallel()
	m, member, _, _ := secureMount(t)
	old := mounttest.TokenData(member.NewToken())
	m.Write("roles/ci", mounttest.Also(old, "type", "static"))
	m.Write("rotate/ci", mounttest.TokenData(member.NewToken()))

	told := m.WarningsOf("config", map[string]any{"server_url": m.Modal.URL(), "force": true})

	require.Contains(t, told, "the engine can no longer revoke these tokens in the revocation queue: "+mounttest.TextIn(old, "token_id"))
}

func TestConfig_CAOfAnotherServerIsNotTrustedForATokenOfTheServerBefore(t *testing.T) {
	t.Parallel()
	m, member, _, _ := secureMount(t)
	m.Write("roles/ci", mounttest.Also(mounttest.TokenData(member.NewToken()), "type", "static"))
	before := mounttest.TextIn(m.Read("config"), "ca_cert")
	other, address, _ := serveTLS(t, m, "127.0.0.1:0")
	admin := other.AddWorkspace("initech").AddMember("mallory").NewToken()
	m.Write("config", mounttest.Also(mounttest.TokenData(admin), "server_url", "https://"+address, "ca_cert", other.CACert()+before, "force", true))

	_, err := m.Handle(logical.UpdateOperation, "verify/ci", nil)

	require.ErrorContains(t, err, "certificate", "the ca_cert of the present server says nothing about the server of the token")
}

func TestRotate_TheRightSecretOfAnUnverifiedTokenGoesToItsOwnServer(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := m.NewToken()
	m.Write("roles/ci", mounttest.Also(token, "type", "static", "token_secret", mounttest.SomeSecret, "verify", false))
	other := modaltest.Start(t, modaltest.WithClock(m.Clock.Now))
	m.Write("config", map[string]any{"server_url": other.URL()})

	m.Write("rotate/ci", token)

	require.Zero(t, other.CallCount(), "the token belongs to the server that config had then")
	require.Equal(t, "acme", m.Read("creds/ci")["workspace"])
}

func TestRotate_TheRightSecretOfAnUnverifiedTokenObeysThePin(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	token := mounttest.TokenData(m.ForeignMember().NewToken())
	m.Write("roles/ci", mounttest.Also(token, "type", "static", "token_secret", mounttest.SomeSecret, "verify", false))
	m.Write("config", map[string]any{"pinned_workspace": m.Workspace.Name()})

	m.Refused(logical.UpdateOperation, "rotate/ci", mounttest.Also(token, "force", true))

	require.Equal(t, mounttest.SomeSecret, m.Credential("ci").Secret)
}

func TestApproval_EndsAtItsOwnServerAfterConfigPointsToAnother(t *testing.T) {
	t.Parallel()
	for path, test := range map[string]struct{ state, reason string }{
		"config/approval":         {"refused", "but config now points to"},
		"rotate/first/approval":   {"done", ""},
		"rotate/another/approval": {"done", ""},
	} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			m := mounttest.New(t)
			before := mounttest.TextIn(m.Read("config"), "server_url")
			m.Write("roles/first", map[string]any{"type": "static"})
			m.AddRole("another")
			m.Write(path, nil)
			other := modaltest.Start(t, modaltest.WithClock(m.Clock.Now))
			m.Write("config", map[string]any{"server_url": other.URL(), "force": true})

			ended, token := m.Approved(path, m.Member)

			require.Equal(t, test.state, ended.Data["state"], ended.Data["reason"])
			require.Contains(t, mounttest.TextIn(ended.Data, "reason"), test.reason)
			require.Empty(t, foreignTokensAt(other))
			require.Empty(t, other.Calls("TokenFlowWait"), "only the server that began the flow can end it")
			if _, role, found := strings.Cut(strings.TrimSuffix(path, "/approval"), "rotate/"); found {
				require.Equal(t, token.ID, m.TokenID(role))
				require.Equal(t, before, m.Read("creds/" + role)["server_url"])
				return
			}
			require.NotContains(t, m.Read("config"), "token_id")
			m.Minutes(2)
			require.False(t, m.Modal.Accepts(token.ID, token.Secret), "a token that is not used deletes itself")
		})
	}
}
