// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"
)

// storedFields returns the fields of a stored entry as JSON texts.
func storedFields(m *mounttest.Mount, key string) map[string]string {
	m.T.Helper()
	raw, err := m.Storage.InmemStorage.Get(m.T.Context(), key)
	require.NoError(m.T, err)
	require.NotNil(m.T, raw, key)
	var stored struct {
		Entry map[string]json.RawMessage `json:"entry"`
	}
	require.NoError(m.T, json.Unmarshal(raw.Value, &stored))
	fields := map[string]string{}
	for name, value := range stored.Entry {
		fields[name] = string(value)
	}
	return fields
}

// changedFields returns the sorted names of the fields that differ.
func changedFields(before, after map[string]string) []string {
	names := map[string]bool{}
	for name := range before {
		names[name] = before[name] != after[name]
	}
	for name := range after {
		names[name] = before[name] != after[name]
	}
	maps.DeleteFunc(names, func(_ string, changed bool) bool { return !changed })
	return slices.Sorted(maps.Keys(names))
}

func TestWrites_ChangeOnlyTheFieldsThatTheyName(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		key     string
		write   func(m *mounttest.Mount)
		changes []string
	}{
		"config/rotate": {"config", func(m *mounttest.Mount) {
			m.Write("config/rotate", m.NewToken())
		}, []string{"admin"}},
		"config/approval": {"config", func(m *mounttest.Mount) {
			m.Write("config/approval", nil)
			resp, token := m.Approved("config/approval", m.Member)
			require.Equal(m.T, token.ID, m.Read("config")["token_id"], "%v", resp.Data)
		}, []string{"admin"}},
		"an admin token": {"config", func(m *mounttest.Mount) {
			m.Write("config", m.NewToken())
		}, []string{"admin"}},
		"paused": {"config", func(m *mounttest.Mount) {
			m.Write("config", map[string]any{"paused": false})
		}, []string{"paused"}},
		"description": {"role/ci", func(m *mounttest.Mount) {
			m.Write("roles/ci", map[string]any{"description": "team gpu"})
		}, []string{"description"}},
		"description, the token": {"cred/ci", func(m *mounttest.Mount) {
			m.Write("roles/ci", map[string]any{"description": "team gpu"})
		}, nil},
		"a new period, the token": {"cred/ci", func(m *mounttest.Mount) {
			m.Write("roles/ci", map[string]any{"rotation_period": "40d"})
		}, []string{"next_rotation"}},
		"verify": {"cred/ci", func(m *mounttest.Mount) {
			m.Clock.Advance(time.Minute)
			m.Write("verify/ci", nil)
		}, []string{"checked"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m := mounttest.New(t)
			m.Write("config", mounttest.Also(m.NewToken(), "ca_cert", modaltest.Start(t, modaltest.WithTLS()).CACert(),
				"request_timeout", "20s", "allowed_environments", "main", "max_environment_role", "contributor", "verification_interval", "12h"))
			m.Write("roles/ci", map[string]any{"type": "managed", "environment_roles": "main=viewer", "profile": "gpu", "refresh_interval": "7m", "grace_period": "30h", "token_ttl": "60d"})
			m.Clock.Advance(time.Minute)
			m.Write("verify/ci", nil)
			m.Write("config", map[string]any{"paused": true, "pinned_workspace": m.Read("config")["workspace_id"]})
			before := storedFields(m, test.key)

			test.write(m)

			require.Equal(t, test.changes, changedFields(before, storedFields(m, test.key)))
		})
	}
}
