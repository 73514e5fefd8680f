// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
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

// update writes the golden files anew, as in go test -run TestStorage_TheGoldenFiles ./internal/engine -update.
var update = flag.Bool("update", false, "write the golden files of the storage format anew")

// howToUpdate says what to do after a change of a stored type.
const howToUpdate = "the storage format changed: set new fields in goldenEntries, then write the files anew with " +
	"go test -run TestStorage_TheGoldenFiles ./internal/engine -update, and look at the difference. " +
	"Once a version was released, only add fields that are omitted at zero, and name removed ones in store.Options.Retired"

// goldenEntries are entries of every stored type, which together set every field. The files under
// testdata/storage/v2 hold them as version 2 of the storage format has them.
func goldenEntries() map[string]any {
	owned := Token{
		ID: "ak-AAAAAAAAAAAAAAAAAAAAAA", Secret: "as-BBBBBBBBBBBBBBBBBBBBBB",
		WorkspaceID: "ac-1", Workspace: "acme", IdentityType: modalapi.IdentityUser, IdentityID: "us-1", Identity: "alice",
		CreatedAt: start, ExpiresAt: start.Add(Day), LastVerified: start, ServerURL: "https://api.modal.com:443",
	}
	minted, grace, interval := owned, time.Hour, 12*time.Hour
	minted.Made, minted.ClockOffset = true, -time.Minute
	minted.IdentityType, minted.IdentityID, minted.Identity = modalapi.IdentityServiceUser, "sv-1", "vault-2f9f1a7c-gpu-hgfedcba"
	return map[string]any{
		"config": &Config{
			ServerURL: "https://api.modal.com:443", CACert: "PEM", RequestTimeout: 15 * time.Second, Admin: &owned,
			Limitation: "no plan", AllowedEnvironments: []string{"main"}, MaxEnvironmentRole: modalapi.RoleViewer,
			PinnedWorkspace: "globex",
			Paused:          true, VerificationInterval: &interval, AdminChecked: start, AdminRejected: start,
		},
		"role/ci": &Role{
			Type: TypeStatic, Profile: "work", Environment: "main",
			RefreshInterval: 5 * time.Minute, GracePeriod: Day, RotationPeriod: 90 * Day, KeepPrevious: true,
		},
		"cred/ci": &Credential{Token: owned, Version: 3, LastRotation: start},
		"revocation/ak-AAAAAAAAAAAAAAAAAAAAAA": &Revocation{
			Token: owned, Role: "ci", Version: 2, Reason: reasonRotated, Method: methodManual, Since: start, NotBefore: start.Add(Day),
			Attempts: 1, LastAttempt: start, NextAttempt: start.Add(time.Hour), LastError: "Modal still accepts the token",
			Lineage: "ABCDEFGH", Forced: true, Begun: true,
		},
		"role/gpu": &Role{
			Type: TypeManaged, GenerationID: "ABCDEFGH", RefreshInterval: 5 * time.Minute, GracePeriod: Day, RotationPeriod: 90 * Day,
			Managed: &ManagedPolicy{
				Access:   Access{EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor}, Scoped: true},
				TokenTTL: 30 * Day,
				Schedule: "30 3 * * SAT", Window: 2 * time.Hour, Disabled: true, Hold: Day,
			},
		},
		"cred/gpu": &Credential{
			Token: minted, Version: 2, LastRotation: start, NextRotation: start.Add(Day),
			Attempts: 1, LastAttempt: start, NextAttempt: start.Add(time.Minute), LastError: "unavailable",
			Lineage: "ABCDEFGH", Checked: start, Refused: start, Drifted: true,
		},
		"revocation/vault-2f9f1a7c-gpu-abcdefgh": &Revocation{
			Token: Token{WorkspaceID: "ac-1", Workspace: "acme", IdentityType: modalapi.IdentityServiceUser, Identity: "vault-2f9f1a7c-gpu-abcdefgh"},
			Role:  "gpu", Reason: reasonUnfinished, Method: methodAutomatic, Since: start, NotBefore: start.Add(unfinishedAfter),
			NextAttempt: start.Add(unfinishedAfter), Unconfirmed: true, Missing: start, FirstRejectedAt: start,
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
			Rights: Access{EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}, Scoped: true},
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

func TestStorage_TheGoldenFilesHoldTheFormatOfToday(t *testing.T) {
	t.Parallel()
	for key, entry := range goldenEntries() {
		switch want := entry.(type) {
		case *Config:
			checkGolden(t, key, want)
		case *Role:
			checkGolden(t, key, want)
		case *Credential:
			checkGolden(t, key, want)
		case *Revocation:
			checkGolden(t, key, want)
		case *holder:
			checkGolden(t, key, want)
		case *Approval:
			checkGolden(t, key, want)
		case *divergence:
			checkGolden(t, key, want)
		case *knownWorkspace:
			checkGolden(t, key, want)
		default:
			t.Fatalf("no check for %T", entry)
		}
	}
}

func checkGolden[T any](t *testing.T, key string, want *T) {
	t.Helper()
	file := filepath.Join("testdata", "storage", "v2", strings.ReplaceAll(key, "/", "_")+".json")
	s := &logical.InmemStorage{}
	table := store.New[T](s, "", store.Options{})
	require.NoError(t, table.Put(t.Context(), key, want))
	written, err := s.Get(t.Context(), key)
	require.NoError(t, err)
	if *update {
		var indented bytes.Buffer
		require.NoError(t, json.Indent(&indented, written.Value, "", "  "))
		require.NoError(t, os.WriteFile(file, append(bytes.TrimSpace(indented.Bytes()), '\n'), 0o600))
	}
	golden, err := os.ReadFile(file)
	require.NoError(t, err, howToUpdate)
	require.JSONEq(t, string(golden), string(written.Value), howToUpdate)
	require.NoError(t, s.Put(t.Context(), &logical.StorageEntry{Key: key, Value: golden}))
	table.Invalidate(key)
	got, err := table.Get(t.Context(), key)
	require.NoError(t, err, howToUpdate)
	require.Equal(t, want, got, howToUpdate)
}

func TestStorage_TheGoldenFilesSetEveryField(t *testing.T) {
	t.Parallel()
	set, all := map[string]bool{}, map[string]bool{}
	for _, entry := range goldenEntries() {
		noteFields(reflect.ValueOf(entry).Elem(), set, all)
	}
	for field := range all {
		require.True(t, set[field], "%s is zero in every golden entry: %s", field, howToUpdate)
	}
}

// noteFields notes the stored fields of a struct, and which of them are not zero.
func noteFields(v reflect.Value, set, all map[string]bool) {
	for field, value := range v.Fields() {
		name := v.Type().Name() + "." + field.Name
		all[name] = true
		set[name] = set[name] || !value.IsZero()
		if value.Kind() == reflect.Pointer && !value.IsNil() {
			value = value.Elem()
		}
		if value.Kind() == reflect.Struct && value.Type() != reflect.TypeFor[time.Time]() {
			noteFields(value, set, all)
		}
	}
}
