// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

func TestLists_CanBeWalkedPageByPageInTheOrderOfNames(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.seedManaged(t, 7, 0)
	m.seedLedger(t, 7)
	m.restart()
	for _, path := range []string{"roles", "rotate", "revocations"} {
		whole := m.must(logical.ListOperation, path, nil)
		all, _ := whole.Data["keys"].([]string)
		require.Len(t, all, 7, path)

		var walked []string
		for after := ""; ; after = walked[len(walked)-1] {
			resp := m.must(logical.ListOperation, path, map[string]any{"after": after, "limit": "3"})
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
			resp := m.must(logical.ListOperation, path, map[string]any{"after": walked[4] + "-", "limit": limit})
			require.Equal(t, walked[5:], resp.Data["keys"], "%s: what it begins after need not be there", path)
		}
	}
}

func TestLists_RefuseAPageThatCannotBeMeant(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	for field, value := range map[string]any{"limit": "ten", "after": []any{"a", "b"}, "afterr": "ci"} {
		require.Contains(t, m.refused(logical.ListOperation, "roles", map[string]any{field: value}), field)
	}
}
