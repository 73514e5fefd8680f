// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"crypto/rand"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// manyManaged stores the given number of managed roles, each with a service user at Modal, and returns when
// each token was created.
func (b *bubble) manyManaged(count int) (made map[string]time.Time) {
	b.t.Helper()
	made = map[string]time.Time{}
	now := time.Now()
	for i := range count {
		name, user := fmt.Sprintf("role-%05d", i), fmt.Sprintf("vault-2f9f1a7c-role-%05d", i)
		token, err := b.workspace.CreateServiceUser(user)
		require.NoError(b.t, err)
		b.workspace.SetServiceUserRole(user, "main", "viewer")
		r := model.NewRole(rand.Text())
		r.Type, r.Managed = model.TypeManaged, &model.ManagedPolicy{Access: model.Access{Scoped: true, EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}}}
		cred := &model.Credential{Version: 1, LastRotation: now, NextRotation: now.Add(89 * model.Day), Token: model.Token{
			ID: token.ID, Secret: token.Secret, WorkspaceID: b.workspace.ID(), Workspace: "acme", ServerURL: b.modal.URL(), CreatedByMount: true,
			IdentityType: modalapi.IdentityServiceUser, IdentityID: "sv", Identity: user, LastVerified: now,
		}}
		require.NoError(b.t, b.engine.Mount.Credentials.Put(b.t.Context(), name, cred))
		require.NoError(b.t, b.engine.Mount.Roles.Put(b.t.Context(), name, r))
		made[token.ID] = now
	}
	return made
}

func TestVerify_TenThousandRolesAreVerifiedWithinTheShortestInterval(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		const interval = 10 * time.Minute
		b.configure(model.ConfigWrite{Supplied: bringing(b.member.NewToken()), VerificationInterval: to(interval)})
		roles := 10_000
		if testing.Short() {
			roles = 500
		}
		made := b.manyManaged(roles)
		b.modal.Inject("*", modaltest.Fault{Delay: 50 * time.Millisecond, Times: -1})

		for range 11 {
			next := time.Now().Add(time.Minute)
			require.NoError(b.t, b.engine.Worker.Tick(b.t.Context()))
			b.pass(time.Until(next))
		}

		for _, call := range b.modal.Calls("TokenInfoGet") {
			if created, waits := made[call.TokenID]; waits {
				require.LessOrEqual(b.t, call.At.Sub(created), interval)
				delete(made, call.TokenID)
			}
		}
		require.Empty(b.t, made)
	})
}
