// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/store"
)

// start is when every test begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// The files under testdata/storage/v1 are what version 1 of the storage format looks like. They are
// never edited: an engine of any later version has to read them.
func goldenEntries() map[string]any {
	owned := Token{
		ID: "ak-AAAAAAAAAAAAAAAAAAAAAA", Secret: "as-BBBBBBBBBBBBBBBBBBBBBB",
		WorkspaceID: "ac-1", Workspace: "acme", IdentityType: modalapi.IdentityUser, IdentityID: "us-1", Identity: "alice",
		CreatedAt: start, ExpiresAt: start.Add(Day), LastVerified: start,
	}
	minted, grace := owned, time.Hour
	minted.IdentityType, minted.IdentityID, minted.Identity = modalapi.IdentityServiceUser, "sv-1", "vault-2f9f1a7c-gpu-hgfedcba"
	return map[string]any{
		"config": &Config{
			ServerURL: "https://api.modal.com:443", CACert: "PEM", RequestTimeout: 15 * time.Second, Admin: &owned,
			Limitation: "no plan", AllowedEnvironments: []string{"main"}, MaxEnvironmentRole: modalapi.RoleViewer,
			PinnedWorkspace: "globex",
		},
		"role/ci": &Role{
			Type: TypeStatic, Profile: "work", Environment: "main",
			RefreshInterval: 5 * time.Minute, GracePeriod: Day, RotationPeriod: 90 * Day,
		},
		"cred/ci": &Credential{Token: owned, Version: 3, LastRotation: start},
		"revocation/ak-AAAAAAAAAAAAAAAAAAAAAA": &Revocation{
			Token: owned, Role: "ci", Version: 2, Reason: reasonRotated, Method: methodManual, Since: start, NotBefore: start.Add(Day),
			Attempts: 1, LastAttempt: start, NextAttempt: start.Add(time.Hour), LastError: "Modal still accepts the token",
		},
		"role/gpu": &Role{
			Type: TypeManaged, RefreshInterval: 5 * time.Minute, GracePeriod: Day, RotationPeriod: 90 * Day,
			Managed: &ManagedPolicy{
				Access:   Access{EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor}, Scoped: true},
				TokenTTL: 30 * Day,
				Schedule: "30 3 * * SAT", Window: 2 * time.Hour, Disabled: true,
			},
		},
		"cred/gpu": &Credential{
			Token: minted, Version: 2, LastRotation: start, NextRotation: start.Add(Day),
			Attempts: 1, LastAttempt: start, NextAttempt: start.Add(time.Minute), LastError: "unavailable",
		},
		"revocation/vault-2f9f1a7c-gpu-abcdefgh": &Revocation{
			Token: Token{WorkspaceID: "ac-1", Workspace: "acme", IdentityType: modalapi.IdentityServiceUser, Identity: "vault-2f9f1a7c-gpu-abcdefgh"},
			Role:  "gpu", Reason: reasonUnfinished, Method: methodAutomatic, Since: start, NotBefore: start.Add(unfinishedAfter),
			NextAttempt: start.Add(unfinishedAfter), Unconfirmed: true,
		},
		"token/ak-AAAAAAAAAAAAAAAAAAAAAA": &holder{Role: "ci"},
		"role/job": &Role{
			Type: TypeDynamic, RefreshInterval: 5 * time.Minute, GracePeriod: Day, RotationPeriod: 90 * Day,
			Dynamic: &DynamicPolicy{
				Access: Access{EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}, Scoped: true},
				TTL:    time.Hour, MaxTTL: Day, MaxLeases: 3,
			},
		},
		"revocation/vault-2f9f1a7c-job-abcdefgh": &Revocation{
			Token: minted, Role: "job", Reason: reasonLease, Method: methodAutomatic, Since: start, NotBefore: start.Add(Day), NextAttempt: start.Add(Day),
			Leased: true, HoldUntil: start.Add(2 * Day), Refresh: time.Minute, Held: true, LastUsed: start, Acknowledged: true, Declined: "owners only",
		},
		"approval/ci": &Approval{
			Flow:  Flow{FlowID: "tf-1", WaitSecret: "ws", ServerURL: "https://api.modal.com:443"},
			State: ApprovalWaiting, Open: true, Began: start, Lapses: start.Add(time.Hour), TokenTTL: Day, Grace: &grace, Force: true,
			PinnedWorkspace: "acme", TokenID: "ak-AAAAAAAAAAAAAAAAAAAAAA", Account: owned.Account(), PreviousTokenID: "ak-CCCCCCCCCCCCCCCCCCCCCC",
			Version: 2, Said: "nobody approved it in time",
			Late: []lateFlow{{
				Flow:  Flow{FlowID: "tf-0", WaitSecret: "ws", ServerURL: "https://api.modal.com:443"},
				Until: start.Add(time.Hour), Delivered: []string{"ak-DDDDDDDDDDDDDDDDDDDDDD"},
			}},
		},
		"workspace": &knownWorkspace{ID: "ac-1", Name: "acme", Pinned: "globex", PinnedID: "ac-2"},
		"orphans":   &divergence{Since: start, Accepted: []string{"vault-2f9f1a7c-ci-abcdefgh"}},
	}
}

func TestStorage_TheFormatOfVersionOneIsWrittenAndRead(t *testing.T) {
	t.Parallel()
	for key, entry := range goldenEntries() {
		file := filepath.Join("testdata", "storage", "v1", strings.ReplaceAll(key, "/", "_")+".json")
		golden, err := os.ReadFile(file)
		require.NoError(t, err)
		s := &logical.InmemStorage{}
		switch want := entry.(type) {
		case *Config:
			checkGolden(t, s, key, golden, want)
		case *Role:
			checkGolden(t, s, key, golden, want)
		case *Credential:
			checkGolden(t, s, key, golden, want)
		case *Revocation:
			checkGolden(t, s, key, golden, want)
		case *holder:
			checkGolden(t, s, key, golden, want)
		case *Approval:
			checkGolden(t, s, key, golden, want)
		case *divergence:
			checkGolden(t, s, key, golden, want)
		case *knownWorkspace:
			checkGolden(t, s, key, golden, want)
		default:
			t.Fatalf("no check for %T", entry)
		}
	}
}

func checkGolden[T any](t *testing.T, s logical.Storage, key string, golden []byte, want *T) {
	t.Helper()
	require.NoError(t, s.Put(t.Context(), &logical.StorageEntry{Key: key, Value: golden}))
	table := store.New[T](s, "", store.Options{})
	got, err := table.Get(t.Context(), key)
	require.NoError(t, err)
	require.Equal(t, want, got)
	require.NoError(t, table.Put(t.Context(), key, want))
	written, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	require.JSONEq(t, string(golden), string(written.Value))
}
