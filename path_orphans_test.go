// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
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

func TestOrphans_NamesSelectWhichOnesAreKept(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	var tokens []modaltest.Token
	for _, name := range []string{"vault-2f9f1a7c-gpu-aaaaaaaa", "vault-2f9f1a7c-gpu-bbbbbbbb"} {
		orphan, err := m.Workspace.CreateServiceUser(name)
		require.NoError(t, err)
		tokens = append(tokens, orphan)
	}
	m.Clock.Advance(time.Hour)

	kept := m.Write("orphans", map[string]any{"accept": true, "dry_run": "", "names": "vault-2f9f1a7c-gpu-aaaaaaaa"}).Data

	require.Equal(t, false, kept["dry_run"], `"" restores the default, and accept needs no dry_run=false`)
	require.Equal(t, []string{"vault-2f9f1a7c-gpu-aaaaaaaa"}, kept["names"])
	require.Equal(t, true, kept["out_of_sync"], "no operator has decided about the other orphan")
	for name, accepted := range map[string]bool{"vault-2f9f1a7c-gpu-aaaaaaaa": true, "vault-2f9f1a7c-gpu-bbbbbbbb": false} {
		require.Equal(t, accepted, orphanInfo(m, name)["accepted"], name)
	}
	ended := m.Write("orphans", map[string]any{"dry_run": false, "names": "vault-2f9f1a7c-gpu-bbbbbbbb,vault-2f9f1a7c-gpu-bbbbbbbb"}).Data
	require.Equal(t, []string{"vault-2f9f1a7c-gpu-bbbbbbbb"}, ended["names"])
	require.Equal(t, int64(1), ended["ended"], "a name that is written twice counts once")
	require.Equal(t, false, ended["out_of_sync"])
	require.True(t, m.Modal.Accepts(tokens[0].ID, tokens[0].Secret))
	require.False(t, m.Modal.Accepts(tokens[1].ID, tokens[1].Secret))
}

func TestOrphans_StayAcceptedAfterTheMountIsInSyncAgain(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	_, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	m.Clock.Advance(time.Hour)
	m.Write("orphans", map[string]any{"accept": true})
	next, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-bbbbbbbb")
	require.NoError(t, err)
	m.Clock.Advance(time.Hour)
	m.Restart()
	m.Tick()
	require.Equal(t, true, m.Read("status")["out_of_sync"])
	m.Modal.DeleteToken(next.ID)
	m.Restart() // the engine compares after a start

	m.Minutes(1)

	require.Equal(t, false, m.Read("status")["out_of_sync"])
	require.Equal(t, true, orphanInfo(m, "vault-2f9f1a7c-gpu-aaaaaaaa")["accepted"])
}

func TestOrphans_ListTellsWhoseAndHowOldEachOneIs(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	orphan, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa", modaltest.ExpiresAt(mounttest.StartTime.Add(mounttest.Day)))
	require.NoError(t, err)
	m.Clock.Advance(time.Minute)
	require.True(t, m.Modal.Use(orphan.ID, orphan.Secret))
	m.Clock.Advance(time.Minute)

	require.Equal(t, map[string]any{
		"token_id": orphan.ID, "age": int64(120), "accepted": false,
		"created_at": "2026-03-01T12:00:00Z", "last_used_at": "2026-03-01T12:01:00Z", "expires_at": "2026-03-02T12:00:00Z",
	}, orphanInfo(m, "vault-2f9f1a7c-gpu-aaaaaaaa"))
}

func TestOrphans_WithoutAListOnlyAPlainAcceptEndsOutOfSync(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	_, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	m.Clock.Advance(time.Hour)
	m.Write("orphans", map[string]any{"accept": true})
	_, err = m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-bbbbbbbb")
	require.NoError(t, err)
	m.Clock.Advance(time.Hour)
	m.Restart()
	m.Tick()
	m.Modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	for _, ask := range []map[string]any{
		{"accept": true, "dry_run": true},
		{"accept": true, "names": "vault-2f9f1a7c-gpu-bbbbbbbb"},
		{"dry_run": false},
		nil,
	} {
		m.Failed(logical.UpdateOperation, "orphans", ask)
		require.Equal(t, true, m.Read("status")["out_of_sync"], ask)
	}

	resp := m.Write("orphans", map[string]any{"accept": true})

	require.Equal(t, false, resp.Data["out_of_sync"])
	require.NotContains(t, resp.Data, "names")
	require.Contains(t, resp.Warnings[0], "nothing was compared")
	m.Modal.ClearFaults()
	m.Tick()
	require.Equal(t, true, m.Read("status")["out_of_sync"], "the list shows an orphan that nobody has accepted")
	require.Equal(t, true, orphanInfo(m, "vault-2f9f1a7c-gpu-aaaaaaaa")["accepted"], "an earlier decision stays")
}

func TestOrphans_AcceptFailsIfStorageCannotTellWhichOnesThereAre(t *testing.T) {
	t.Parallel()
	m := mounttest.NewAllowingOrphans(t)
	m.AddManaged("ci")
	_, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	m.Clock.Advance(time.Hour)
	m.Tick()
	m.WriteAsNewer("cred/ci")

	status, text := m.Failed(logical.UpdateOperation, "orphans", map[string]any{"accept": true})

	require.Equal(t, http.StatusInternalServerError, status)
	require.Contains(t, text, "a role's token cannot be read")
	require.Equal(t, true, m.Read("status")["out_of_sync"])
}

// orphanInfo returns what the list of orphans tells about one orphan.
func orphanInfo(m *mounttest.Mount, name string) map[string]any {
	m.T.Helper()
	info, _ := m.Must(logical.ListOperation, "orphans", nil).Data["key_info"].(map[string]any)[name].(map[string]any)
	return info
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
