// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

func TestOrphans_EmptyListOfNamesDeletesNothing(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	prefix, _ := m.read("config")["service_user_prefix"].(string)
	orphan, err := m.workspace.CreateServiceUser(prefix + "ci-aaaaaaaa")
	require.NoError(t, err)
	m.clock.advance(time.Hour)
	require.Contains(t, m.refused(logical.UpdateOperation, "orphans", map[string]any{"names": []any{}, "dry_run": false}), "this list is empty")
	for _, names := range []any{"as-AAAAAAAAAAAAAAAAAAAAAA", []any{prefix + "ci-aaaaaaaa", "as-AAAAAAAAAAAAAAAAAAAAAA"}} {
		said := m.refused(logical.UpdateOperation, "orphans", map[string]any{"names": names, "dry_run": false})
		require.Contains(t, said, "names: this has the shape of a token secret")
	}
	require.True(t, m.modal.Accepts(orphan.ID, orphan.Secret))
}
