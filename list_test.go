// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestLists_CanBePagedInOrderOfNames(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.SeedManaged(t, 7, 0)
	m.SeedRevocations(t, 7)
	prefix, _ := m.Read("config")["service_user_prefix"].(string)
	for i := range 7 {
		_, err := m.Workspace.CreateServiceUser(fmt.Sprintf("%sjob-as-aaaaaaa%d", prefix, i)) // the name resembles a secret
		require.NoError(t, err)
	}
	m.Clock.Advance(time.Hour)
	m.Restart()
	for _, path := range []string{"roles", "rotate", "revocations", "orphans"} {
		whole := m.Must(logical.ListOperation, path, nil)
		all, _ := whole.Data["keys"].([]string)
		require.Len(t, all, 7, path)

		var walked []string
		for after := ""; ; after = walked[len(walked)-1] {
			resp := m.Must(logical.ListOperation, path, map[string]any{"after": after, "limit": "3"})
			keys, _ := resp.Data["keys"].([]string)
			if len(keys) == 0 {
				break
			}
			require.LessOrEqual(t, len(keys), 3, path)
			require.Len(t, resp.Data["key_info"], len(keys), path)
			walked = append(walked, keys...)
		}
		require.IsIncreasing(t, walked, path)
		require.ElementsMatch(t, all, walked, path)

		for _, limit := range []any{"-1", 0, "100"} {
			resp := m.Must(logical.ListOperation, path, map[string]any{"after": walked[4] + "-", "limit": limit})
			require.Equal(t, walked[5:], resp.Data["keys"], "%s: the name in after need not exist", path)
		}
	}
}

func TestLists_RefuseInvalidPages(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	for field, value := range map[string]any{"limit": "ten", "after": []any{"a", "b"}, "afterr": "ci"} {
		require.Contains(t, m.Refused(logical.ListOperation, "roles", map[string]any{field: value}), field)
	}
	require.Contains(t, m.Refused(logical.ListOperation, "roles", map[string]any{"after": "as-AAAAAAAAAAAAAAAAAAAAAA"}), "shape of a token secret")
	for field, value := range map[string]any{"limit": 1, "after": "ci"} {
		require.Contains(t, m.Refused(logical.UpdateOperation, "orphans", map[string]any{field: value, "dry_run": false}), field+": only a list takes this")
	}
}

func TestLists_ContinueAfterARoleNameWithASecretPrefix(t *testing.T) {
	t.Parallel()
	m := mounttest.New(t)
	m.AddRole("as-job")
	m.AddRole("ci")
	page := m.Must(logical.ListOperation, "roles", map[string]any{"after": "as-job"})
	require.Equal(t, []string{"ci"}, page.Data["keys"])
}
