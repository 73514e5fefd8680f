// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// The tests in this file check the log lines. All mounts of the plugin share Vault's log.

// lines returns the lines of the log that are not empty.
func (m *mount) lines() []string {
	return strings.FieldsFunc(m.logs.String(), func(r rune) bool { return r == '\n' })
}

func TestLog_EveryLineNamesTheMountAndItsServiceUserPrefix(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.write("rotate/ci", map[string]any{"grace_period": 0})
	m.modal.Inject("ServiceUserDelete", deleteFails)
	m.tick()
	m.modal.ClearFaults()
	m.minutes(3)
	m.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.DataLoss, Times: -1})
	require.Error(t, m.try(logical.UpdateOperation, "rotate/ci", nil))
	m.clock.advance(91 * day)
	m.tick()
	m.modal.ClearFaults()
	m.minutes(5)
	static := m.addRole("static")
	m.write("rotate/static", m.newToken())
	m.remove("revocations/"+static, map[string]any{"force": true})
	m.remove("roles/static", nil)
	m.remove("config", nil)

	require.Greater(t, len(m.lines()), 12)
	for _, line := range m.lines() {
		require.Contains(t, line, "service_user_prefix=vault-2f9f1a7c-")
		require.Contains(t, line, "mount=modal/")
	}
	for _, secret := range m.modal.Secrets() {
		require.NotContains(t, m.logs.String(), secret)
	}
}

func TestLog_LinesBeforeTheFirstRequestNameThePrefix(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	m.clock.advance(91 * day)
	m.restart()
	before := len(m.lines())
	m.tick()
	require.Greater(t, len(m.lines()), before)
	for _, line := range m.lines()[before:] {
		require.Contains(t, line, "service_user_prefix=vault-2f9f1a7c-")
	}
}

func TestLog_WriteThatChangesPrivilegesLogsTheChange(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"environment_roles": "main=viewer"})
	_, another := m.anotherModal()
	for _, write := range []struct {
		path string
		data map[string]any
		says []string
	}{
		{"config", map[string]any{"allowed_environments": "main,staging"}, []string{"config written", `allowed_environments="main,staging"`, `allowed_environments_before=""`}},
		{"config", map[string]any{"max_environment_role": "viewer"}, []string{"max_environment_role=viewer"}},
		{"config", map[string]any{"max_environment_role": "", "allowed_environments": ""}, []string{"max_environment_role_before=viewer", `allowed_environments_before="main,staging"`}},
		{"config", m.newToken(), []string{"admin_token=ak-", "admin_token_before=ak-"}},
		{"roles/ci", map[string]any{"environment_roles": "main=contributor"}, []string{"role written", "role=ci", "environment_roles=main=contributor", "environment_roles_before=main=viewer"}},
		{"roles/ci", map[string]any{"scoped": false}, []string{"scoped=false"}},
		{"config", another, []string{"server_url=" + textIn(another, "server_url"), "server_url_before=" + m.modal.URL()}},
	} {
		m.write(write.path, write.data)
		line := m.lines()[len(m.lines())-1]
		for _, says := range write.says {
			require.Contains(t, line, says)
		}
	}
}

func TestLog_OperatorMistakesAreNoWarningsAndNoFailedRotations(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addRole("static")
	m.addManaged("managed")
	lines := len(m.lines())
	for path, mistakes := range map[string][]map[string]any{
		"rotate/static": {
			nil, tokenParameters(someID, someSecret),
			{"to_previous": true},
			tokenData(m.workspace.AddMember("bob").NewToken()),
			{"token_id": "", "token_secret": ""},
			also(m.newToken(), "grace_period", "never"),
		},
		"rotate/managed": {m.newToken(), {"to_previous": true}, {"grace_period": "3000d"}},
		"rotate/none":    {m.newToken()},
		"roles/static":   {m.newToken(), {"type": "managed"}},
		"config":         {{"server_url": "http://elsewhere.example"}, tokenParameters(someID, someSecret)},
	} {
		for _, data := range mistakes {
			m.refused(logical.UpdateOperation, path, data)
		}
	}
	m.write("config", map[string]any{"max_environment_role": "viewer"})
	m.refused(logical.UpdateOperation, "rotate/managed", nil)
	require.NotContains(t, m.eventTypes(), "modal/rotate-fail")
	for _, line := range m.lines()[lines:] {
		require.NotContains(t, line, "[WARN]")
		require.NotContains(t, line, "[ERROR]")
	}
}
