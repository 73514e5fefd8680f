// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCreds_ReturnAStoredTokenInEachForm(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := time.Now().Add(-time.Second)
	token := w.newRole(t, "environment=staging", "refresh_interval=5s", "profile=work")
	profile := fmt.Sprintf("[work]\ntoken_id = %q\ntoken_secret = %q\nenvironment = \"staging\"\nserver_url = %q\n", token.ID, token.Secret, w.emulator.URL)

	creds := w.requireToken(t, token)
	require.Equal(t, "demo", creds["workspace"])
	require.Equal(t, "work", creds["profile"])
	require.Equal(t, "staging", creds["environment"])
	require.Equal(t, json.Number("1"), creds["version"])
	require.Equal(t, json.Number("5"), creds["ttl"])
	require.Equal(t, json.Number("7776000"), creds["rotation_period"])
	imported, err := time.Parse(time.RFC3339, fmt.Sprint(creds["last_vault_rotation"]))
	require.NoError(t, err)
	require.WithinRange(t, imported, before, time.Now())

	env := fmt.Sprintf("MODAL_TOKEN_ID=%s\nMODAL_TOKEN_SECRET=%s\nMODAL_ENVIRONMENT=staging\nMODAL_SERVER_URL=%s\n",
		token.ID, token.Secret, w.emulator.URL)
	requireSecret(t, env, w.vault(t, "read", "-field=dotenv", "modal/creds/ci/dotenv"))
	requireSecret(t, profile+"active = true\n", w.vault(t, "read", "-field=toml", "modal/creds/ci/toml"))
	requireSecret(t, profile, w.vault(t, "read", "-field=toml", "modal/creds/ci/profile"))
	for _, key := range []string{"env", "dotenv", "toml"} {
		require.NotContains(t, creds, key, "the answer contains the secret once")
	}
	for form, key := range map[string]string{"dotenv": "dotenv", "toml": "toml", "profile": "toml"} {
		answer := w.read(t, "modal/creds/ci/"+form)
		require.ElementsMatch(t, []string{key, "token_id", "ttl", "rotation_period", "last_vault_rotation"}, slices.Collect(maps.Keys(answer)))
		require.Equal(t, creds["last_vault_rotation"], answer["last_vault_rotation"])
		require.Equal(t, token.ID, answer["token_id"])
	}

	variables := w.read(t, "modal/creds/ci/env")
	require.Len(t, variables, 4)
	require.Equal(t, token.ID, variables["MODAL_TOKEN_ID"])
	requireSecret(t, token.Secret, variables["MODAL_TOKEN_SECRET"])
	require.Equal(t, "staging", variables["MODAL_ENVIRONMENT"])
	require.Equal(t, w.emulator.URL, variables["MODAL_SERVER_URL"])
}

func TestCreds_AWrappedReadCanBeUnwrappedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newRole(t)

	wrapped := strings.TrimSpace(w.vault(t, "read", "-wrap-ttl=60s", "-field=wrapping_token", "modal/creds/ci"))
	requireSecret(t, token.Secret, w.vault(t, "unwrap", "-field=token_secret", wrapped))
	require.NotZero(t, w.run(t, w.CLI, "", "unwrap", wrapped).Code)
}

func TestCreds_APolicyOnTheRoleDoesNotCoverItsForms(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newRole(t)
	reader := w.As(w.policyToken(t, `path "modal/creds/ci" { capabilities = ["read"] }`))
	require.Zero(t, w.run(t, reader, "", "read", "modal/creds/ci").Code)
	for _, path := range []string{"modal/creds/ci/env", "modal/creds/ci/dotenv", "modal/creds/ci/toml", "modal/creds/ci/profile", "modal/roles/ci", "modal/rotate/ci"} {
		denied := w.run(t, reader, "", "read", path)
		require.Equal(t, 2, denied.Code, path)
		require.Contains(t, denied.Stderr, "permission denied", path)
	}
}

func TestHelp_EachPathHasHelp(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	paths, ok := w.read(t, "sys/internal/specs/openapi")["paths"].(map[string]any)
	require.True(t, ok)
	concrete := strings.NewReplacer("{role}", "ci", "{id}", "ak-0")
	var seen []string
	for path := range paths {
		if !strings.HasPrefix(path, "/modal/") {
			continue
		}
		seen = append(seen, path)
		help := w.vault(t, "path-help", concrete.Replace(strings.Trim(path, "/")))
		_, description, found := strings.Cut(help, "## DESCRIPTION")
		require.True(t, found, "%s:\n%s", path, help)
		require.NotEmpty(t, strings.TrimSpace(description), path)
	}
	for _, path := range []string{
		"/modal/config", "/modal/roles/", "/modal/roles/{role}", "/modal/creds/{role}", "/modal/creds/{role}/env",
		"/modal/creds/{role}/dotenv", "/modal/creds/{role}/toml", "/modal/creds/{role}/profile", "/modal/rotate/", "/modal/rotate/{role}",
		"/modal/revocations/", "/modal/revocations/{id}",
	} {
		require.Contains(t, seen, path)
	}
	require.Contains(t, w.vault(t, "path-help", "modal"), "Modal")
}

func TestVersion_VaultShowsTheRunningVersion(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.Equal(t, plugin.Version, w.runningVersion(t))
}

// runningVersion returns the plugin version that Vault shows.
func (w *world) runningVersion(t *testing.T) string {
	t.Helper()
	var mounts map[string]struct {
		RunningVersion string `json:"running_plugin_version"`
	}
	require.NoError(t, json.Unmarshal([]byte(w.vault(t, "secrets", "list", "-detailed", "-format=json")), &mounts))
	return mounts["modal/"].RunningVersion
}

// policyToken makes a Vault token with the given policy.
func (w *world) policyToken(t *testing.T, policy string) string {
	t.Helper()
	require.NoError(t, w.run(t, w.CLI, policy, "policy", "write", "reader", "-").Err())
	return strings.TrimSpace(w.vault(t, "token", "create", "-policy=reader", "-field=token"))
}
