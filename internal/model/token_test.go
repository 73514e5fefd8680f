// SPDX-License-Identifier: MPL-2.0

package model

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func TestToken_HasTheSameOwnerOnlyIfModalSaidSoOfBoth(t *testing.T) {
	t.Parallel()
	alice := Token{
		LastVerified: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), ServerURL: "https://api.modal.com:443",
		WorkspaceID: "ac-1", Workspace: "acme", IdentityType: modalapi.IdentityUser, IdentityID: "us-1", Identity: "alice",
	}
	for name, test := range map[string]struct {
		change func(t *Token)
		want   bool
	}{
		"another token":       {func(t *Token) { t.ID = "ak-2" }, true},
		"another name":        {func(t *Token) { t.Identity, t.Workspace = "alicia", "acme-2" }, true},
		"an old token":        {func(t *Token) { t.ServerURL = "" }, true},
		"never verified":      {func(t *Token) { *t = UnverifiedToken(modalapi.Token{ID: "ak-2"}, "https://other.example:443") }, true},
		"another server":      {func(t *Token) { t.ServerURL = "https://other.example:443" }, false},
		"another workspace":   {func(t *Token) { t.WorkspaceID = "ac-2" }, false},
		"another kind":        {func(t *Token) { t.IdentityType = modalapi.IdentityServiceUser }, false},
		"another person":      {func(t *Token) { t.IdentityID = "us-2" }, false},
		"another of its name": {func(t *Token) { t.IdentityID = "us-3"; t.Identity = "alice" }, false},
	} {
		other := alice
		test.change(&other)
		require.Equal(t, test.want, alice.HasSameOwner(other), name)
		require.Equal(t, test.want, other.HasSameOwner(alice), name)
	}
}
