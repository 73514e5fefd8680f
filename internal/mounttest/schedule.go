// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// At parses an RFC 3339 time.
func At(t *testing.T, text string) time.Time {
	t.Helper()
	parsed, err := time.Parse(time.RFC3339, text)
	require.NoError(t, err)
	return parsed
}

// NextRotation returns when a role is rotated next.
func (m *Mount) NextRotation(name string) time.Time {
	m.T.Helper()
	text, _ := m.Read("rotate/" + name)["next_rotation"].(string)
	return At(m.T, text)
}

// Knows reports whether Modal still has a token.
func (m *Mount) Knows(id string) bool {
	for _, token := range m.Modal.Tokens() {
		if token.ID == id {
			return true
		}
	}
	return false
}

// SeedManaged stores managed roles with tokens that do not exist at Modal. The first due roles are due now.
func (m *Mount) SeedManaged(tb testing.TB, count, due int) {
	tb.Helper()
	for i := range count {
		name := fmt.Sprintf("role-%05d", i)
		r := &model.Role{Type: model.TypeManaged, RefreshInterval: 5 * time.Minute, GracePeriod: Day, RotationPeriod: 90 * Day}
		r.Managed = &model.ManagedPolicy{Access: model.Access{Scoped: true, EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}}}
		cred := &model.Credential{Version: 1, LastRotation: StartTime, NextRotation: StartTime.Add(89 * Day), Token: model.Token{
			ID: fmt.Sprintf("ak-%022d", i), Secret: fmt.Sprintf("as-%022d", i), WorkspaceID: m.Workspace.ID(), Workspace: "acme",
			IdentityType: modalapi.IdentityServiceUser, IdentityID: fmt.Sprintf("sv-%d", i), Identity: fmt.Sprintf("vault-seed-%d", i), LastVerified: StartTime,
		}}
		if i < due {
			cred.NextRotation = StartTime
		}
		PutEntry(tb, m.Storage, "cred/"+name, cred)
		PutEntry(tb, m.Storage, "role/"+name, r)
	}
}
