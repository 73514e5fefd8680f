// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

func TestOrphans_EmptyListOfNamesDeletesNothing(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	prefix, _ := m.Read("config")["service_user_prefix"].(string)
	orphan, err := m.Workspace.CreateServiceUser(prefix + "ci-aaaaaaaa")
	require.NoError(t, err)
	m.Clock.Advance(time.Hour)
	require.Contains(t, m.Refused(logical.UpdateOperation, "orphans", map[string]any{"names": []any{}, "dry_run": false}), "this list is empty")
	for _, names := range []any{"as-AAAAAAAAAAAAAAAAAAAAAA", []any{prefix + "ci-aaaaaaaa", "as-AAAAAAAAAAAAAAAAAAAAAA"}} {
		said := m.Refused(logical.UpdateOperation, "orphans", map[string]any{"names": names, "dry_run": false})
		require.Contains(t, said, "names: this has the shape of a token secret")
	}
	require.True(t, m.Modal.Accepts(orphan.ID, orphan.Secret))
}

func TestOrphans_DryRunWithAcceptKeepsNothingYet(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	prefix, _ := m.Read("config")["service_user_prefix"].(string)
	_, err := m.Workspace.CreateServiceUser(prefix + "ci-aaaaaaaa")
	require.NoError(t, err)
	m.Minutes(11)
	require.Equal(t, true, m.Read("status")["out_of_sync"])
	before := m.Storage.Snapshot(t)

	planned := m.Write("orphans", map[string]any{"accept": true, "dry_run": true}).Data

	require.Equal(t, true, planned["dry_run"])
	require.Equal(t, []string{prefix + "ci-aaaaaaaa"}, planned["names"])
	require.Equal(t, true, planned["out_of_sync"])
	m.UnchangedSince(before)
	require.Equal(t, false, m.Write("orphans", map[string]any{"accept": true}).Data["out_of_sync"])
}
