// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestManaged_LimitsApplyToEveryWrite(t *testing.T) {
	t.Parallel()
	for says, limit := range map[string]map[string]any{
		"allowed_environments (main)":         {"allowed_environments": "main"},
		"max_environment_role (viewer)":       {"max_environment_role": "viewer"},
		"max_environment_role (contributor)":  {"max_environment_role": "contributor"},
		"(main) and max_environment_role (vi": {"allowed_environments": "main", "max_environment_role": "viewer"},
	} {
		m := mounttest.NewManaged(t)
		m.Write("config", limit)
		m.AddManaged("ci", map[string]any{"environment_roles": "main=viewer"})
		text := m.Refused(logical.UpdateOperation, "roles/ci", map[string]any{"scoped": false})
		require.Contains(t, text, "scoped=false exceeds config's ")
		require.Contains(t, text, says)
		m.Refused(logical.UpdateOperation, "roles/new", map[string]any{"type": "managed", "scoped": false})
	}

	m := mounttest.NewManaged(t)
	m.AddManaged("ci", map[string]any{"environment_roles": "main=contributor,staging=contributor"})
	m.Write("config", map[string]any{"allowed_environments": "main", "max_environment_role": "viewer"})
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/ci", map[string]any{"grace_period": "1h"}), "contributor in environment main is more")
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/ci", nil), "max_environment_role")
	m.Write("roles/ci", map[string]any{"grace_period": "1h", "environment_roles": "main=viewer"})
}

func TestManaged_ScopedRoleUsesOnlyItsOwnEnvironments(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("one")
	m.AddManaged("two", map[string]any{"environment_roles": "main=viewer,staging=viewer"})
	m.AddManaged("wide", map[string]any{"scoped": false, "environment": "elsewhere"})

	require.Equal(t, "main", m.Read("roles/one")["environment"])
	require.Equal(t, "main", m.Read("creds/one")["environment"])
	require.Equal(t, "main", m.Read("creds/one/env")["MODAL_ENVIRONMENT"])
	require.Contains(t, m.Read("creds/one/toml")["toml"], `environment = "main"`)
	require.NotContains(t, m.Read("creds/two"), "environment")
	require.Equal(t, "elsewhere", m.Read("creds/wide")["environment"])

	for _, name := range []string{"one", "two"} {
		text := m.Refused(logical.UpdateOperation, "roles/"+name, map[string]any{"environment": "elsewhere"})
		require.Contains(t, text, "environment elsewhere is not among environment_roles (main=")
	}
	m.Write("roles/two", map[string]any{"environment": "staging"})
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/two", map[string]any{"environment_roles": "main=viewer"}), "environment staging is not among")
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/wide", map[string]any{"scoped": true}), "environment elsewhere is not among")
	m.Write("roles/two", map[string]any{"environment_roles": "main=viewer", "environment": ""})
	require.Equal(t, "main", m.Read("creds/two")["environment"])
	m.Write("roles/one", map[string]any{"environment_roles": "staging=viewer"})
	require.Equal(t, "staging", m.Read("creds/one")["environment"], "the default follows environment_roles")
}

func TestDynamic_LimitsApplyToEveryWrite(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
	m.Write("config", map[string]any{"max_environment_role": "viewer"})
	for path, data := range map[string]map[string]any{
		"roles/new": {"type": "dynamic", "environment_roles": "main=contributor"}, "roles/wide": {"type": "dynamic", "scoped": false}, "roles/job": {"max_leases": 3},
	} {
		require.Contains(t, m.Refused(logical.UpdateOperation, path, data), "max_environment_role", path)
	}
	m.Write("roles/job", map[string]any{"max_leases": 3, "environment_roles": "main=viewer"})
}

func TestDynamic_ScopedRoleUsesOnlyItsOwnEnvironments(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=viewer"})
	require.Equal(t, "main", m.Read("roles/job")["environment"])
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/job", map[string]any{"environment": "staging"}), "environment staging is not among environment_roles")
	m.Write("roles/job", map[string]any{"environment": "staging", "environment_roles": "main=viewer,staging=viewer"})
	require.Contains(t, m.Refused(logical.UpdateOperation, "roles/job", map[string]any{"environment_roles": "main=viewer"}), "environment staging is not among")
}
