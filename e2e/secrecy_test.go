// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

func TestSecrecy_OnlyCredsReturnASuppliedSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	admin := w.newToken(t)
	require.NoError(t, w.run(t, w.CLI, admin.Secret, "write", "modal/config", "token_id="+admin.ID, "token_secret=-").Err())
	old := w.newRole(t, "refresh_interval=5s")
	agent, err := w.lab.StartAgent(w.ctx, w.Vault, w.policyToken(t, readCreds), "modal/creds/ci/toml")
	require.NoError(t, err)
	current := w.rotate(t, "grace_period=0")
	stray := w.newToken(t)
	canaries := []lab.Token{admin, old, current, stray}

	// Errors must not show more than successes.
	var said []string
	for _, args := range [][]string{
		{"write", "modal/rotate/ci", "token_id=" + stray.Secret, "token_secret=" + stray.ID},
		{"write", "modal/rotate/ci", "token_id=" + stray.ID, "token_secret=" + stray.Secret + "\nnext line"},
		{"write", "modal/rotate/ci", "token_id=" + stray.ID, "token_secret=" + stray.Secret + "x"},
		{"write", "modal/roles/ci", "token_id=" + stray.ID, "token_secret=" + stray.Secret},
		{"write", "modal/roles/ci", "token_secrte=" + stray.Secret},
		{"write", "modal/roles/second", "type=static", "token_id=" + current.ID, "token_secret=" + current.Secret},
		{"write", "modal/roles/third", "type=static", "token_id=" + admin.ID, "token_secret=" + admin.Secret},
		{"read", "modal/creds/nobody"},
	} {
		failed := w.run(t, w.CLI, "", args...)
		require.Equal(t, 2, failed.Code, lab.Mask(strings.Join(args, " ")))
		said = append(said, failed.Stdout, failed.Stderr)
	}
	w.requireToken(t, current)
	for _, form := range []string{"env", "dotenv", "toml", "profile"} {
		shown := w.vault(t, "read", "-format=json", "modal/creds/ci/"+form)
		require.Equal(t, []lab.Token{current}, leaked(shown, canaries), form)
	}
	for _, args := range [][]string{
		{"read", "modal/config"},
		{"list", "-detailed", "modal/roles"},
		{"read", "modal/roles/ci"},
		{"list", "-detailed", "modal/rotate"},
		{"read", "modal/rotate/ci"},
		{"list", "-detailed", "modal/revocations"},
		{"read", "modal/revocations/" + old.ID},
		{"write", "-f", "modal/revocations/" + old.ID},
	} {
		said = append(said, w.vault(t, append([]string{args[0], "-format=json"}, args[1:]...)...))
	}
	require.Empty(t, leaked(strings.Join(said, "\n"), canaries), "answers")

	w.vault(t, "delete", "modal/roles/ci")
	w.reload(t)
	w.requireSilent(t, "modal/creds/ci", canaries)
	require.Empty(t, leaked(w.file(t, agent.Log), canaries), "Vault Agent's log")
}

func TestSecrecy_OnlyCredsReturnASecretThatTheEngineCreated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	canaries := []lab.Token{w.newAdmin(t)}
	var said []string
	try := func(code int, args ...string) {
		t.Helper()
		result := w.run(t, w.CLI, "", args...)
		require.Equal(t, code, result.Code, result.Stderr)
		said = append(said, result.Stdout, result.Stderr)
	}
	w.newManagedRole(t)
	canaries = append(canaries, w.current(t).Token)
	try(0, "write", "-f", "modal/rotate/gpu")
	canaries = append(canaries, w.current(t).Token)
	try(0, "write", "modal/rotate/gpu", "dry_run=true")
	try(0, "write", "modal/rotate/gpu", "to_previous=true")
	try(0, "write", "modal/rotate/gpu", "grace_period=0")
	current := w.current(t).Token
	canaries = append(canaries, current)

	try(0, "write", "modal/roles/gpu", "environment_roles=main=viewer")
	try(2, "write", "modal/roles/gpu", "environment_roles=nowhere=viewer")
	try(2, "write", "modal/roles/other", "type=managed", "environment_roles=nowhere=viewer")
	try(2, "write", "modal/rotate/gpu", "token_id="+current.ID, "token_secret="+current.Secret)
	try(2, "write", "modal/roles/thief", "type=static", "token_id="+current.ID, "token_secret="+current.Secret)
	w.requireAllTracked(t)
	for _, args := range [][]string{
		{"read", "modal/config"},
		{"read", "modal/roles/gpu"},
		{"read", "modal/rotate/gpu"},
		{"list", "-detailed", "modal/rotate"},
		{"list", "-detailed", "modal/revocations"},
	} {
		try(0, append([]string{args[0], "-format=json"}, args[1:]...)...)
	}
	for _, id := range w.list(t, "modal/revocations") {
		try(0, "read", "-format=json", "modal/revocations/"+id)
		try(0, "write", "-format=json", "modal/revocations/"+id, "force=true")
	}
	try(0, "delete", "modal/roles/gpu")
	w.endAll(t)
	require.Empty(t, w.state(t).ServiceUsers)

	require.Empty(t, leaked(strings.Join(said, "\n"), canaries), "answers")
	w.requireSilent(t, "modal/creds/gpu", canaries)
}

// requireSilent asserts that neither Vault's log nor its audit log contains a secret. The audit log must
// mention the path.
func (w *world) requireSilent(t *testing.T, path string, canaries []lab.Token) {
	t.Helper()
	log := w.file(t, w.Log)
	require.Contains(t, log, `"@module":"secrets.`+lab.PluginName, "the plugin logs through Vault")
	require.Contains(t, log, `"@level":"trace"`)
	require.Empty(t, leaked(log, canaries), "Vault's log")
	audit := w.file(t, w.Audit)
	require.Contains(t, audit, `"path":"`+path+`"`)
	require.Empty(t, leaked(audit, canaries), "the audit log")
}

func (w *world) file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	return string(text)
}

// leaked returns the tokens whose secret is in a text. It searches for the secret without its prefix.
func leaked(text string, tokens []lab.Token) []lab.Token {
	return slices.DeleteFunc(slices.Clone(tokens), func(token lab.Token) bool {
		return !strings.Contains(text, strings.TrimPrefix(token.Secret, "as-"))
	})
}
