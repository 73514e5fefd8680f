// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestConfig_ReadShowsTheAdminIdentityButNotTheSecret(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	admin := m.NewToken(modaltest.ExpiresAt(mounttest.StartTime.Add(mounttest.Day)))
	m.Write("config", mounttest.Also(admin, "request_timeout", "20s"))
	id, _ := admin["token_id"].(string)
	cfg := m.Read("config")
	require.Equal(t, map[string]any{
		"server_url": m.Modal.URL(), "request_timeout": int64(20), "token_id": id, "verified": true, "manages_service_users": true,
		"paused": false, "state": "ok", "verification_interval": int64(86400), "service_user_prefix": "vault-2f9f1a7c-",
		"workspace": "acme", "workspace_id": m.Workspace.ID(), "identity": "alice", "identity_type": "user",
		"identity_id": cfg["identity_id"], "created_at": "2026-03-01T12:00:00Z", "expires_at": "2026-03-02T12:00:00Z",
	}, cfg)
}

func TestConfig_WriteMergesAndRemovesTheAdminTokenOnRequest(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	admin := m.NewToken()
	m.Write("config", admin)
	m.Write("config", map[string]any{"request_timeout": "5s"})
	require.Equal(t, admin["token_id"], m.Read("config")["token_id"], "an absent field keeps its value")

	resp := m.Write("config", map[string]any{"remove_admin_token": true, "request_timeout": ""})

	require.Contains(t, resp.Warnings[0], "which is now in the revocation queue; the engine does not revoke it, so delete token "+admin["token_id"].(string))
	require.NotContains(t, m.Read("config"), "token_id")
	require.Equal(t, int64(15), m.Read("config")["request_timeout"])
}

func TestConfig_ARemovedAdminTokenIsAnEventForAnOperator(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	admin := m.Read("config")["token_id"]
	m.Write("config", map[string]any{"remove_admin_token": true})
	require.Equal(t, admin, m.EventsOf("modal/revoke-manual")[0]["token_id"])
}

func TestConfig_WriteWithoutAChangeStoresNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	admin := m.NewToken()
	m.Write("config", admin)
	m.Storage.Heal()
	m.Write("config", mounttest.Also(admin, "request_timeout", "15s"))
	require.Empty(t, m.Storage.Recorded())
}

func TestConfig_StoredAdminTokenIsSentToNoOtherServer(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	admin := m.NewToken()
	m.Write("config", admin)
	other, secure := modaltest.Start(t), modaltest.Start(t, modaltest.WithTLS())
	for _, change := range []map[string]any{
		{"server_url": other.URL()}, {"server_url": other.URL(), "verify": false}, {"ca_cert": secure.CACert()},
	} {
		text := m.Refused(logical.UpdateOperation, "config", change)
		require.Contains(t, text, "admin token "+admin["token_id"].(string)+" is sent only to the server that accepted it")
		require.Contains(t, text, "write token_id and token_secret")
	}
	require.Empty(t, other.Calls(""))
	text := m.Refused(logical.UpdateOperation, "config", mounttest.Also(admin, "server_url", other.URL()))
	require.Contains(t, text, "Modal rejected token "+admin["token_id"].(string), "the token was supplied for the other server")

	fresh := mounttest.TokenData(other.AddWorkspace("w").AddMember("u").NewToken())
	m.Write("config", mounttest.Also(fresh, "server_url", other.URL(), "force", true))
	require.Equal(t, fresh["token_id"], m.Read("config")["token_id"])
	removed := map[string]any{"remove_admin_token": true, "server_url": m.Modal.URL()}
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", removed), "is sent only to the server that accepted it")
	m.Write("config", map[string]any{"remove_admin_token": true})
	m.Write("config", map[string]any{"server_url": m.Modal.URL()})
	require.NotContains(t, m.Read("config"), "token_id")
}

func TestConfig_ServerURLHasOneSpelling(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", m.NewToken())
	m.Storage.Heal()
	m.Write("config", map[string]any{"server_url": " " + m.Modal.URL()})
	require.Empty(t, m.Storage.Recorded(), "the same server")
	m.Write("config", map[string]any{"remove_admin_token": true})
	m.Write("config", map[string]any{"server_url": "https://API.Modal.com:0443"})
	require.Equal(t, "https://api.modal.com:443", m.Read("config")["server_url"])
}

func TestConfig_EmptyTokenIsRefusedAndRemovesNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	admin := m.NewToken()
	m.Write("config", admin)
	for _, pair := range []map[string]any{mounttest.TokenParameters("", ""), mounttest.TokenParameters(" ", "")} {
		text := m.Refused(logical.UpdateOperation, "config", pair)
		require.Contains(t, text, "are empty")
		require.Contains(t, text, "remove_admin_token=true")
	}
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", mounttest.TokenParameters(mounttest.SomeID, "")), "token_secret is missing")
	require.Contains(t, m.Refused(logical.UpdateOperation, "config", mounttest.Also(m.NewToken(), "remove_admin_token", true)), "one or the other")
	m.Write("config", map[string]any{"token_id": nil, "token_secret": nil, "remove_admin_token": ""})
	require.Equal(t, admin["token_id"], m.Read("config")["token_id"], "null keeps the value")
}

func TestConfig_CACertificateReadsBackAsWritten(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	pem := strings.TrimSpace(modaltest.Start(t, modaltest.WithTLS()).CACert()) + "\n\n"
	m.Write("config", map[string]any{"ca_cert": pem})
	require.Equal(t, pem, m.Read("config")["ca_cert"])
}

func TestConfig_DeleteReturnsToTheDefaults(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Write("config", m.NewToken())
	resp := m.Remove("config", nil)
	require.Contains(t, resp.Warnings[0], "no longer uses admin token")
	require.Nil(t, m.Must(logical.ReadOperation, "config", nil))
}

func TestConfig_TLSTrustsOnlyTheConfiguredCA(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	secure := modaltest.Start(t, modaltest.WithTLS(), modaltest.WithClock(m.Clock.Now))
	token := mounttest.Also(mounttest.TokenData(secure.AddWorkspace("w").AddMember("u").NewToken()), "type", "static")
	m.Write("config", map[string]any{"server_url": secure.URL()})
	_, text := m.Failed(logical.UpdateOperation, "roles/ci", token)
	require.Contains(t, text, "certificate")

	m.Write("config", map[string]any{"ca_cert": secure.CACert()})

	m.Write("roles/ci", token)
	require.Equal(t, "w", m.Read("creds/ci")["workspace"])
	require.Equal(t, secure.URL(), m.Read("creds/ci/env")["MODAL_SERVER_URL"])
}

func TestConfig_ChangeDoesNotBreakACallInFlight(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.Modal.Inject("TokenInfoGet", modaltest.Fault{Delay: 300 * time.Millisecond})
	token := mounttest.Also(m.NewToken(), "type", "static")
	var group sync.WaitGroup
	group.Go(func() { m.Write("roles/ci", token) })
	require.Eventually(t, func() bool { return len(m.Modal.Calls("TokenInfoGet")) > 0 }, time.Minute, time.Millisecond)
	m.Write("config", map[string]any{"request_timeout": "30s"})
	m.AddRole("other")
	group.Wait()
	require.NotEmpty(t, m.Read("creds/ci"))
}
