// SPDX-License-Identifier: MPL-2.0

package state

import (
	"bytes"
	"context"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/store"
)

// node returns the state of a mount on one node of a cluster. All nodes share the storage.
func node(storage logical.Storage) *Mount {
	return NewMount(Deps{
		Storage: storage, MountID: "2f9f1a7c", Logger: hclog.NewNullLogger(),
		Emit: func(context.Context, model.Event) {}, Now: func() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) },
	})
}

// checkInvalidate writes an entry on another node, first as new and then changed, and expects the node to read each
// write after its invalidation.
func checkInvalidate[T any](t *testing.T, key string, table func(*Mount) *store.Table[T], name string, entries ...*T) {
	t.Helper()
	storage := &logical.InmemStorage{}
	active, standby := node(storage), node(storage)
	before, err := table(standby).Get(t.Context(), name)
	require.NoError(t, err, key)
	require.Nil(t, before, key)
	for _, entry := range append(entries, nil) {
		if entry == nil {
			require.NoError(t, table(active).Delete(t.Context(), name), key)
		} else {
			require.NoError(t, table(active).Put(t.Context(), name, entry), key)
		}

		standby.Invalidate(key)

		seen, err := table(standby).Get(t.Context(), name)
		require.NoError(t, err, key)
		require.Equal(t, entry, seen, key)
	}
}

func TestMount_InvalidateShowsAnotherNodesWriteOfEveryKind(t *testing.T) {
	t.Parallel()
	since := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	checkInvalidate(t, "config", func(m *Mount) *store.Table[model.Config] { return m.Config }, "", &model.Config{Paused: true}, &model.Config{})
	checkInvalidate(t, "role/ci", func(m *Mount) *store.Table[model.Role] { return m.Roles }, "ci", &model.Role{Type: "static"}, &model.Role{Type: "managed"})
	checkInvalidate(t, "cred/ci", func(m *Mount) *store.Table[model.Credential] { return m.Credentials }, "ci", &model.Credential{Version: 1}, &model.Credential{Version: 2})
	checkInvalidate(t, "revocation/ak-1", func(m *Mount) *store.Table[model.Revocation] { return m.Revocations }, "ak-1", &model.Revocation{Version: 1}, &model.Revocation{Forced: true})
	checkInvalidate(t, "approval/ci", func(m *Mount) *store.Table[model.Approval] { return m.Approvals }, "ci", &model.Approval{Open: true}, &model.Approval{})
	checkInvalidate(t, "token/ak-1", func(m *Mount) *store.Table[TokenOwner] { return m.TokenOwners }, "ak-1", &TokenOwner{Role: "ci"}, &TokenOwner{Role: "cd"})
	checkInvalidate(t, "orphans", func(m *Mount) *store.Table[OutOfSync] { return m.OutOfSync }, "", &OutOfSync{Since: since}, &OutOfSync{})
	checkInvalidate(t, "workspace", func(m *Mount) *store.Table[model.KnownWorkspaces] { return m.Workspaces }, "", &model.KnownWorkspaces{ID: "ac-1"}, &model.KnownWorkspaces{ID: "ac-2"})
}

func TestMount_InvalidateMakesEachDueTimeOfTheEntryBeLookedUpAgain(t *testing.T) {
	t.Parallel()
	for key, want := range map[string][]string{
		"role/ci":         {"roles", "warnings"},
		"cred/ci":         {"roles", "verifications", "warnings"},
		"revocation/ak-1": {"revocations", "creations"},
		"approval/ci":     {"approvals"},
		"token/ak-1":      nil,
	} {
		m := node(&logical.InmemStorage{})
		indexes := map[string]*DueTimes{
			"roles": m.DueRoles, "revocations": m.DueRevocations, "approvals": m.DueApprovals,
			"creations": m.DueCreations, "verifications": m.DueVerifications, "warnings": m.DueWarnings,
		}
		for _, index := range indexes {
			_, err := index.Due(t.Context(), m.Now(), DueSource{List: func(context.Context) ([]string, error) { return nil, nil }})
			require.NoError(t, err)
		}

		m.Invalidate(key)

		var changed []string
		for name, index := range indexes {
			if _, count := index.Len(); count > 0 {
				changed = append(changed, name)
			}
		}
		require.ElementsMatch(t, want, changed, key)
	}
}

func TestMount_ChangesOfConfigAreCountedOnEveryNode(t *testing.T) {
	t.Parallel()
	m := node(&logical.InmemStorage{})
	before := m.ConfigChanges()
	require.NoError(t, m.Config.Put(t.Context(), "", &model.Config{Paused: true}))
	require.Greater(t, m.ConfigChanges(), before)
	before = m.ConfigChanges()
	m.Invalidate("config")
	require.Greater(t, m.ConfigChanges(), before)
	before = m.ConfigChanges()
	m.Invalidate("role/config")
	require.Equal(t, before, m.ConfigChanges())
}

func TestMount_EachLineOfTheLogNamesTheMount(t *testing.T) {
	t.Parallel()
	var lines bytes.Buffer
	var options modalapi.Options
	m := NewMount(Deps{
		Storage: &logical.InmemStorage{}, MountID: "2f9f1a7c", Now: time.Now, Wait: func(context.Context, time.Duration) error { return nil },
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Trace, Output: &lines}),
		Connect: func(o modalapi.Options) (Modal, error) {
			options = o
			return &connection{open: new(int)}, nil
		},
	})
	m.SetPath("modal/")
	_, release, err := m.Connect(&model.Config{ServerURL: "https://a:443"})
	require.NoError(t, err)
	release()

	options.Warn("this client is old")
	m.Log().Info("something else")

	require.Equal(t, 2, strings.Count(lines.String(), ": mount=modal/ service_user_prefix=vault-2f9f1a7c-"), lines.String())
}
