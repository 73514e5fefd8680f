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
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
	"vault-plugin-secrets-modal/internal/store"
)

// start is the time at which every test begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// update rewrites the golden files: go test -run TestStorage_GoldenFiles ./internal/engine -update.
var update = flag.Bool("update", false, "rewrite the golden files of the storage format")

// howToUpdate says what to do after a change of a stored type.
const howToUpdate = "The storage format changed. Set new fields in goldenEntries, then rewrite the files with: " +
	"go test -run TestStorage_GoldenFiles ./internal/engine -update. Review the difference. " +
	"After a release, only add fields that are omitted at zero, and list removed fields in store.Options.Retired"

// goldenEntries returns entries of every stored type. Together they set every field. The files under
// testdata/storage/v2 contain them in version 2 of the storage format.
func goldenEntries() map[string]any {
	owned := model.Token{
		ID: "ak-AAAAAAAAAAAAAAAAAAAAAA", Secret: "as-BBBBBBBBBBBBBBBBBBBBBB",
		WorkspaceID: "ac-1", Workspace: "acme", IdentityType: modalapi.IdentityUser, IdentityID: "us-1", Identity: "alice",
		CreatedAt: start, ExpiresAt: start.Add(model.Day), LastVerified: start, ServerURL: "https://api.modal.com:443",
	}
	created, grace, interval := owned, time.Hour, 12*time.Hour
	created.CreatedByMount, created.ClockOffset = true, -time.Minute
	created.IdentityType, created.IdentityID, created.Identity = modalapi.IdentityServiceUser, "sv-1", "vault-2f9f1a7c-gpu-hgfedcba"
	return map[string]any{
		"config": &model.Config{
			ServerURL: "https://api.modal.com:443", CACert: "PEM", RequestTimeout: 15 * time.Second, Admin: &owned,
			Limitation: "no plan", AllowedEnvironments: []string{"main"}, MaxEnvironmentRole: modalapi.RoleViewer,
			PinnedWorkspace: "globex",
			Paused:          true, VerificationInterval: &interval, AdminChecked: start, AdminRejected: start,
		},
		"role/ci": &model.Role{
			Type: model.TypeStatic, Description: "payments, OPS-1234", Profile: "work", Environment: "main",
			RefreshInterval: 5 * time.Minute, GracePeriod: model.Day, RotationPeriod: 90 * model.Day, KeepPrevious: true,
		},
		"cred/ci": &model.Credential{Token: owned, Version: 3, LastRotation: start},
		"revocation/ak-AAAAAAAAAAAAAAAAAAAAAA": &model.Revocation{
			Token: owned, Role: "ci", Version: 2, Reason: model.ReasonRotated, Method: model.MethodManual, Since: start, NotBefore: start.Add(model.Day),
			Tries: model.Tries{Attempts: 1, LastAttempt: start, LastError: "Modal still accepts the token"}, NextAttempt: start.Add(time.Hour),
			GenerationID: "ABCDEFGH", Forced: true, DeletionStarted: true,
		},
		"role/gpu": &model.Role{
			Type: model.TypeManaged, GenerationID: "ABCDEFGH", RefreshInterval: 5 * time.Minute, GracePeriod: model.Day, RotationPeriod: 90 * model.Day,
			Managed: &model.ManagedPolicy{
				Access:   model.Access{EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor}, Scoped: true},
				TokenTTL: 30 * model.Day,
				Schedule: "30 3 * * SAT", Window: 2 * time.Hour, Disabled: true, Hold: model.Day,
			},
		},
		"cred/gpu": &model.Credential{
			Token: created, Version: 2, LastRotation: start, NextRotation: start.Add(model.Day),
			Tries: model.Tries{Attempts: 1, LastAttempt: start, LastError: "unavailable"}, NextAttempt: start.Add(time.Minute),
			GenerationID: "ABCDEFGH", LastChecked: start, RejectedSince: start, RolesDiffer: true,
		},
		"revocation/vault-2f9f1a7c-gpu-abcdefgh": &model.Revocation{
			Token: model.Token{WorkspaceID: "ac-1", Workspace: "acme", IdentityType: modalapi.IdentityServiceUser, Identity: "vault-2f9f1a7c-gpu-abcdefgh"},
			Role:  "gpu", Reason: model.ReasonUnfinished, Method: model.MethodAutomatic, Since: start, NotBefore: start.Add(model.UnfinishedAfter),
			NextAttempt: start.Add(model.UnfinishedAfter), AcceptedAfterDeletion: true, FirstNotFoundAt: start, FirstRejectedAt: start,
		},
		"token/ak-AAAAAAAAAAAAAAAAAAAAAA": &state.TokenOwner{Role: "ci"},
		"role/job": &model.Role{
			Type: model.TypeDynamic, RefreshInterval: 5 * time.Minute, GracePeriod: model.Day, RotationPeriod: 90 * model.Day,
			Dynamic: &model.DynamicPolicy{
				Access: model.Access{EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}, Scoped: true},
				TTL:    time.Hour, MaxTTL: model.Day, MaxLeases: 3, NameTemplate: "{{.DisplayName}}",
			},
		},
		"revocation/vault-2f9f1a7c-job-abcdefgh": &model.Revocation{
			Token: created, Role: "job", Reason: model.ReasonLease, Method: model.MethodAutomatic, Since: start, NotBefore: start.Add(model.Day), NextAttempt: start.Add(model.Day),
			Leased: true, HoldUntil: start.Add(2 * model.Day), Refresh: time.Minute, WasInUse: true, LastUsed: start, Acknowledged: true, RefusedReason: "owners only",
			Rights: model.Access{EnvironmentRoles: map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}, Scoped: true},
		},
		"approval/ci": &model.Approval{
			Flow:  model.Flow{FlowID: "tf-1", WaitSecret: "ws", ServerURL: "https://api.modal.com:443"},
			State: model.ApprovalWaiting, Open: true, Began: start, Lapses: start.Add(time.Hour), TokenTTL: model.Day, Grace: &grace, Force: true,
			PinnedWorkspace: "acme", TokenID: "ak-AAAAAAAAAAAAAAAAAAAAAA", Account: owned.Account(), PreviousTokenID: "ak-CCCCCCCCCCCCCCCCCCCCCC",
			Version: 2, Reason: "nobody approved it in time",
			EndedFlows: []model.EndedFlow{{
				Flow:  model.Flow{FlowID: "tf-0", WaitSecret: "ws", ServerURL: "https://api.modal.com:443"},
				Until: start.Add(time.Hour), Delivered: []string{"ak-DDDDDDDDDDDDDDDDDDDDDD"},
			}},
		},
		"workspace": &model.KnownWorkspaces{ID: "ac-1", Name: "acme", Pinned: "globex", PinnedID: "ac-2"},
		"orphans":   &state.OutOfSync{Since: start, Accepted: []string{"vault-2f9f1a7c-ci-abcdefgh"}},
	}
}

func TestStorage_GoldenFilesHaveTheCurrentFormat(t *testing.T) {
	t.Parallel()
	for key, entry := range goldenEntries() {
		switch want := entry.(type) {
		case *model.Config:
			checkGolden(t, key, want)
		case *model.Role:
			checkGolden(t, key, want)
		case *model.Credential:
			checkGolden(t, key, want)
		case *model.Revocation:
			checkGolden(t, key, want)
		case *state.TokenOwner:
			checkGolden(t, key, want)
		case *model.Approval:
			checkGolden(t, key, want)
		case *state.OutOfSync:
			checkGolden(t, key, want)
		case *model.KnownWorkspaces:
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

func TestStorage_GoldenFilesSetEveryField(t *testing.T) {
	t.Parallel()
	set, all := map[string]bool{}, map[string]bool{}
	for _, entry := range goldenEntries() {
		noteFields(reflect.ValueOf(entry).Elem(), set, all)
	}
	for field := range all {
		require.True(t, set[field], "%s is zero in every golden entry: %s", field, howToUpdate)
	}
}

// noteFields collects the stored fields of a struct and those that are not zero.
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

func TestStorage_RevocationWithoutARequiredFieldIsDamaged(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join("testdata", "storage", "v2", "revocation_ak-AAAAAAAAAAAAAAAAAAAAAA.json"))
	require.NoError(t, err)
	for _, field := range []string{"reason", "method", "since", "not_before", "next_attempt"} {
		var stored map[string]any
		require.NoError(t, json.Unmarshal(raw, &stored))
		entry, _ := stored["entry"].(map[string]any)
		require.Contains(t, entry, field)
		delete(entry, field)
		damaged, err := json.Marshal(stored)
		require.NoError(t, err)
		s := &logical.InmemStorage{}
		require.NoError(t, s.Put(t.Context(), &logical.StorageEntry{Key: "x", Value: damaged}))
		_, err = store.New[model.Revocation](s, "", store.Options{}).Get(t.Context(), "x")
		require.ErrorContains(t, err, `it has no field "`+field+`"`)
	}
}
