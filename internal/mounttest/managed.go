// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"context"
	"encoding/json"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// NewManaged returns a mount with an admin token. The test fails if Modal ends with a service user that neither a
// role nor the revocation queue tracks.
func NewManaged(t *testing.T) *Mount {
	t.Helper()
	m := New(t)
	m.Workspace.AddEnvironment("staging")
	m.Write("config", m.NewToken())
	m.Modal.FailOnOrphans(t, m.TrackedServiceUsers)
	return m
}

// TrackedServiceUsers returns the names of the service users in storage.
func (m *Mount) TrackedServiceUsers() []string {
	var names []string
	ctx := context.WithoutCancel(m.T.Context())
	for _, prefix := range []string{"cred/", "revocation/"} {
		keys, err := m.Storage.InmemStorage.List(ctx, prefix)
		require.NoError(m.T, err)
		for _, key := range keys {
			raw, err := m.Storage.InmemStorage.Get(ctx, prefix+key)
			require.NoError(m.T, err)
			var stored struct {
				Entry struct {
					Identity string `json:"identity"`
				} `json:"entry"`
			}
			require.NoError(m.T, json.Unmarshal(raw.Value, &stored))
			names = append(names, stored.Entry.Identity)
		}
	}
	return names
}

// AddManaged creates a managed role and returns the ID of its first token.
func (m *Mount) AddManaged(name string, more ...map[string]any) string {
	m.T.Helper()
	data := map[string]any{"type": "managed", "environment_roles": "main=contributor"}
	for _, extra := range more {
		maps.Copy(data, extra)
	}
	m.Write("roles/"+name, data)
	return m.TokenID(name)
}

// TokenID returns the ID of a role's current token.
func (m *Mount) TokenID(name string) string {
	m.T.Helper()
	id, _ := m.Read("creds/" + name)["token_id"].(string)
	return id
}

// ServiceUser returns the service user that owns a token. The test fails if Modal has no such user.
func (m *Mount) ServiceUser(tokenID string) modaltest.ServiceUserInfo {
	m.T.Helper()
	for _, user := range m.Modal.ServiceUsers() {
		if user.TokenID == tokenID {
			return user
		}
	}
	m.T.Fatalf("no service user owns token %s", tokenID)
	return modaltest.ServiceUserInfo{}
}

// Minutes advances the clock minute by minute, with a tick after each.
func (m *Mount) Minutes(count int) {
	m.T.Helper()
	for range count {
		m.Clock.Advance(time.Minute)
		m.Tick()
	}
}
