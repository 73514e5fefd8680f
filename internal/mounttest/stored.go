// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/store"
)

// StoredWorkspace returns the stored workspace of the last verified admin token.
func (m *Mount) StoredWorkspace() map[string]any {
	m.T.Helper()
	raw, err := m.Storage.InmemStorage.Get(m.T.Context(), "workspace")
	require.NoError(m.T, err)
	require.NotNil(m.T, raw)
	var stored struct {
		Entry map[string]any `json:"entry"`
	}
	require.NoError(m.T, json.Unmarshal(raw.Value, &stored))
	return stored.Entry
}

// ChangeRevocation changes a stored revocation, as if another node had written it.
func (m *Mount) ChangeRevocation(id string, change func(r *model.Revocation)) {
	m.T.Helper()
	table := store.New[model.Revocation](&m.Storage.InmemStorage, "revocation/", store.Options{})
	stored, err := table.Get(m.T.Context(), id)
	require.NoError(m.T, err)
	changed := *stored
	change(&changed)
	require.NoError(m.T, table.Put(m.T.Context(), id, &changed))
	m.Restart()
}

// StoredTokenID returns the ID of a role's current token, "" if the role does not exist.
func (m *Mount) StoredTokenID(name string) string {
	if cred := m.Credential(name); cred != nil {
		return cred.ID
	}
	return ""
}

// SeedRevocations stores revocations of deleted roles, within their grace period.
func (m *Mount) SeedRevocations(tb testing.TB, count int) {
	tb.Helper()
	for i := range count {
		id := fmt.Sprintf("ak-L%021d", i)
		PutEntry(tb, m.Storage, "revocation/"+id, &model.Revocation{
			Token: model.Token{
				ID: id, Secret: fmt.Sprintf("as-L%021d", i), IdentityType: modalapi.IdentityServiceUser, Identity: fmt.Sprintf("vault-seed-l%d", i),
				IdentityID: fmt.Sprintf("sv-l%d", i), WorkspaceID: m.Workspace.ID(), LastVerified: StartTime, CreatedByMount: true,
			},
			Role: fmt.Sprintf("gone-%05d", i), Version: 1, Reason: "role deleted", Method: "automatic",
			Since: m.Clock.Now(), NotBefore: m.Clock.Now().Add(Day), NextAttempt: m.Clock.Now().Add(Day),
		})
	}
}

// InQueue reports whether the revocation queue contains an ID.
func (m *Mount) InQueue(id string) bool {
	m.T.Helper()
	return slices.Contains(m.List("revocations"), id)
}

// CurrentTokens returns the IDs of the tokens that belong to a role or are in the revocation queue.
func (m *Mount) CurrentTokens() []string {
	m.T.Helper()
	ids := m.List("revocations")
	for _, name := range m.List("roles") {
		ids = append(ids, m.TokenID(name))
	}
	return ids
}

// OwnerEntries returns the token IDs that have an owner entry in storage.
func (m *Mount) OwnerEntries() []string {
	m.T.Helper()
	ids, err := m.Storage.InmemStorage.List(m.T.Context(), "token/")
	require.NoError(m.T, err)
	return ids
}

// Try sends a request that may fail.
func (m *Mount) Try(op logical.Operation, path string, data map[string]any) error {
	m.T.Helper()
	_, err := m.Handle(op, path, data)
	return err
}

// Revocation returns a field of a revocation, nil if the queue does not contain the ID.
func (m *Mount) Revocation(id, field string) any {
	m.T.Helper()
	resp, err := m.Handle(logical.ReadOperation, "revocations/"+id, nil)
	require.NoError(m.T, err)
	return resp.Data[field]
}

// Proofs returns the proofs that the log names, in order.
func (m *Mount) Proofs() (proofs []string) {
	for _, line := range m.Lines() {
		if _, proof, found := strings.Cut(line, "proof="); found {
			proofs = append(proofs, strings.Trim(proof, `"`))
		}
	}
	return proofs
}

// WriteAsNewer changes an entry as a newer version of the plugin would write it: with a field that this build does not
// know.
func (m *Mount) WriteAsNewer(key string) {
	m.T.Helper()
	ctx := context.WithoutCancel(m.T.Context())
	raw, err := m.Storage.InmemStorage.Get(ctx, key)
	require.NoError(m.T, err)
	var stored struct {
		Schema int            `json:"schema"`
		Entry  map[string]any `json:"entry"`
	}
	require.NoError(m.T, json.Unmarshal(raw.Value, &stored))
	stored.Entry["keep_until"] = "2027-01-01T00:00:00Z"
	newer, err := logical.StorageEntryJSON(key, stored)
	require.NoError(m.T, err)
	require.NoError(m.T, m.Storage.InmemStorage.Put(ctx, newer))
	m.Restart()
}

// TickAnyway runs a tick that may fail.
func (m *Mount) TickAnyway() error {
	_, err := m.HandleRequest(m.T.Context(), &logical.Request{Operation: logical.RollbackOperation, Storage: m.Storage, Data: map[string]any{}, MountPoint: "modal/"})
	return err
}
