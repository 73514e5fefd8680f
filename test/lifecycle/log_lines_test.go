// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// The tests in this file check the log lines. All mounts of the plugin share Vault's log.

func TestLog_EveryLineNamesTheMountAndItsServiceUserPrefix(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Write("rotate/ci", map[string]any{"grace_period": 0})
	m.Modal.Inject("ServiceUserDelete", deleteFails)
	m.Tick()
	m.Modal.ClearFaults()
	m.Minutes(3)
	m.Modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.DataLoss, Times: -1})
	require.Error(t, m.Try(logical.UpdateOperation, "rotate/ci", nil))
	m.Clock.Advance(91 * mounttest.Day)
	m.Tick()
	m.Modal.ClearFaults()
	m.Minutes(5)
	static := m.AddRole("static")
	m.Write("rotate/static", m.NewToken())
	m.Remove("revocations/"+static, map[string]any{"force": true})
	m.Remove("roles/static", nil)
	m.Remove("config", nil)

	require.Greater(t, len(m.Lines()), 12)
	for _, line := range m.Lines() {
		require.Contains(t, line, "service_user_prefix=vault-2f9f1a7c-")
		require.Contains(t, line, "mount=modal/")
	}
	require.False(t, m.HoldsSecret(m.Logs.String()))
}

func TestLog_LinesBeforeTheFirstRequestNameThePrefix(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	m.Clock.Advance(91 * mounttest.Day)
	m.Restart()
	before := len(m.Lines())
	m.Tick()
	require.Greater(t, len(m.Lines()), before)
	for _, line := range m.Lines()[before:] {
		require.Contains(t, line, "service_user_prefix=vault-2f9f1a7c-")
	}
}

func TestLog_WriteThatChangesPrivilegesLogsTheChange(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"environment_roles": "main=viewer"})
	_, another := m.AnotherModal()
	bob := m.Workspace.AddMember("bob")
	bob.SetRole(modaltest.RoleManager)
	pem := modaltest.Start(t, modaltest.WithTLS()).CACert()
	for _, write := range []struct {
		path string
		data map[string]any
		says []string
	}{
		{"config", map[string]any{"allowed_environments": "main,staging"}, []string{"config written", `allowed_environments="main,staging"`, `allowed_environments_before=""`}},
		{"config", map[string]any{"max_environment_role": "viewer"}, []string{"max_environment_role=viewer"}},
		{"config", map[string]any{"max_environment_role": "", "allowed_environments": ""}, []string{"max_environment_role_before=viewer", `allowed_environments_before="main,staging"`}},
		{"config", map[string]any{"pinned_workspace": "acme"}, []string{"pinned_workspace=acme", `pinned_workspace_before=""`}},
		{"config", map[string]any{"pinned_workspace": ""}, []string{`pinned_workspace=""`, "pinned_workspace_before=acme"}},
		{"config", map[string]any{"paused": true}, []string{"paused=true"}},
		{"config", map[string]any{"paused": false}, []string{"paused=false"}},
		{"config", mounttest.Also(m.NewToken(), "ca_cert", modaltest.Start(t, modaltest.WithTLS()).CACert(), "force", true), []string{"ca_cert=changed"}},
		{"config", m.NewToken(), []string{"admin_token=ak-", "admin_token_before=ak-"}},
		{"roles/ci", map[string]any{"environment_roles": "main=contributor"}, []string{"role written", "role=ci", "environment_roles=main=contributor", "environment_roles_before=main=viewer"}},
		{"roles/ci", map[string]any{"scoped": false}, []string{"scoped=false"}},
		{"config", map[string]any{"pinned_workspace": "acme"}, []string{"pinned_workspace=acme", `pinned_workspace_before=""`}},
		{"config", map[string]any{"paused": true}, []string{"config written", "paused=true"}},
		{"config", map[string]any{"paused": false, "pinned_workspace": ""}, []string{"paused=false", "pinned_workspace_before=acme"}},
		{"config", mounttest.Also(mounttest.TokenData(bob.NewToken()), "ca_cert", pem, "force", true), []string{"ca_cert=changed", "identity=bob", "identity_before=alice", "workspace_before=acme"}},
		{"roles/ci", map[string]any{"scoped": true}, []string{"scoped=true"}},
		{"roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=viewer"}, []string{"created=true", "environment_roles=main=viewer"}},
		{"roles/job", map[string]any{"environment_roles": "main=contributor", "scoped": false}, []string{"created=false", "environment_roles=main=contributor", "environment_roles_before=main=viewer", "scoped=false"}},
		{"config", another, []string{"server_url=" + mounttest.TextIn(another, "server_url"), "server_url_before=" + m.Modal.URL()}},
	} {
		m.Write(write.path, write.data)
		line := m.Lines()[len(m.Lines())-1]
		for _, says := range write.says {
			require.Contains(t, line, says)
		}
	}
}

func TestLog_OperatorMistakesAreNoWarningsAndNoFailedRotations(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddRole("static")
	m.AddManaged("managed")
	lines := len(m.Lines())
	for path, mistakes := range map[string][]map[string]any{
		"rotate/static": {
			nil, mounttest.TokenParameters(mounttest.SomeID, mounttest.SomeSecret),
			{"to_previous": true},
			mounttest.TokenData(m.Workspace.AddMember("bob").NewToken()),
			{"token_id": "", "token_secret": ""},
			mounttest.Also(m.NewToken(), "grace_period", "never"),
		},
		"rotate/managed": {m.NewToken(), {"to_previous": true}, {"grace_period": "3000d"}},
		"rotate/none":    {m.NewToken()},
		"roles/static":   {m.NewToken(), {"type": "managed"}},
		"config":         {{"server_url": "http://elsewhere.example"}, mounttest.TokenParameters(mounttest.SomeID, mounttest.SomeSecret)},
	} {
		for _, data := range mistakes {
			m.Refused(logical.UpdateOperation, path, data)
		}
	}
	m.Write("config", map[string]any{"max_environment_role": "viewer"})
	m.Refused(logical.UpdateOperation, "rotate/managed", nil)
	require.NotContains(t, m.EventTypes(), "modal/rotate-fail")
	for _, line := range m.Lines()[lines:] {
		require.NotContains(t, line, "[WARN]")
		require.NotContains(t, line, "[ERROR]")
	}
}
