// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

func TestManaged_LimitsApplyToEveryWrite(t *testing.T) {
	t.Parallel()
	for says, limit := range map[string]map[string]any{
		"allowed_environments (main)":         {"allowed_environments": "main"},
		"max_environment_role (viewer)":       {"max_environment_role": "viewer"},
		"max_environment_role (contributor)":  {"max_environment_role": "contributor"},
		"(main) and max_environment_role (vi": {"allowed_environments": "main", "max_environment_role": "viewer"},
	} {
		m := newManagedMount(t)
		m.write("config", limit)
		m.addManaged("ci", map[string]any{"environment_roles": "main=viewer"})
		text := m.refused(logical.UpdateOperation, "roles/ci", map[string]any{"scoped": false})
		require.Contains(t, text, "scoped=false exceeds config's ")
		require.Contains(t, text, says)
		m.refused(logical.UpdateOperation, "roles/new", map[string]any{"type": "managed", "scoped": false})
	}

	m := newManagedMount(t)
	m.addManaged("ci", map[string]any{"environment_roles": "main=contributor,staging=contributor"})
	m.write("config", map[string]any{"allowed_environments": "main", "max_environment_role": "viewer"})
	require.Contains(t, m.refused(logical.UpdateOperation, "roles/ci", map[string]any{"grace_period": "1h"}), "contributor in environment main is more")
	require.Contains(t, m.refused(logical.UpdateOperation, "roles/ci", nil), "max_environment_role")
	m.write("roles/ci", map[string]any{"grace_period": "1h", "environment_roles": "main=viewer"})
}

func TestManaged_ScopedRoleUsesOnlyItsOwnEnvironments(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("one")
	m.addManaged("two", map[string]any{"environment_roles": "main=viewer,staging=viewer"})
	m.addManaged("wide", map[string]any{"scoped": false, "environment": "elsewhere"})

	require.Equal(t, "main", m.read("roles/one")["environment"])
	require.Equal(t, "main", m.read("creds/one")["environment"])
	require.Equal(t, "main", m.read("creds/one/env")["MODAL_ENVIRONMENT"])
	require.Contains(t, m.read("creds/one/toml")["toml"], `environment = "main"`)
	require.NotContains(t, m.read("creds/two"), "environment")
	require.Equal(t, "elsewhere", m.read("creds/wide")["environment"])

	for _, name := range []string{"one", "two"} {
		text := m.refused(logical.UpdateOperation, "roles/"+name, map[string]any{"environment": "elsewhere"})
		require.Contains(t, text, "environment elsewhere is not among environment_roles (main=")
	}
	m.write("roles/two", map[string]any{"environment": "staging"})
	require.Contains(t, m.refused(logical.UpdateOperation, "roles/two", map[string]any{"environment_roles": "main=viewer"}), "environment staging is not among")
	require.Contains(t, m.refused(logical.UpdateOperation, "roles/wide", map[string]any{"scoped": true}), "environment elsewhere is not among")
	m.write("roles/two", map[string]any{"environment_roles": "main=viewer", "environment": ""})
	require.Equal(t, "main", m.read("creds/two")["environment"])
	m.write("roles/one", map[string]any{"environment_roles": "staging=viewer"})
	require.Equal(t, "staging", m.read("creds/one")["environment"], "the default follows environment_roles")
}
