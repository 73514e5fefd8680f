// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// recommended matches a command within a message, with its path and fields.
var recommended = regexp.MustCompile(`vault (?:read|write|list|delete)(?: -[\w-]+(?:='')?)* [\w/.-]+(?: \w+=\w+)*`)

// paste runs a command that a message recommends.
func (w *world) paste(t *testing.T, cli lab.CLI, message string) string {
	t.Helper()
	command := recommended.FindString(message)
	require.NotEmpty(t, command, message)
	result := w.run(t, cli, "", strings.Fields(strings.ReplaceAll(command, "''", ""))[1:]...)
	require.NoError(t, result.Err(), command)
	return result.Stdout
}

func TestNamespace_RecommendedCommandsWorkInANamespaceAndAtADeepPath(t *testing.T) {
	t.Parallel()
	w := newBareWorld(t)
	w.vault(t, plugin.RegisterArgs()...)
	w.requireCommandsWork(t, w.CLI, w.CLI, "deep/modal", "deep/modal")
	if !tools.OpenBao {
		return // the open source Vault has no namespaces
	}
	w.vault(t, "namespace", "create", "team")
	w.requireCommandsWork(t, w.In("team"), w.CLI, "modal", "team/modal")
	w.vault(t, "namespace", "create", "other")
	w.requireCommandsWork(t, w.In("team"), w.In("team"), "modal2", "team/modal2")
	w.requireCommandsWork(t, w.In("team"), w.In("other"), "modal3", "team/modal3")
}

// requireCommandsWork mounts the engine with the environment of inside, and runs the recommended commands
// with the environment of pasting.
func (w *world) requireCommandsWork(t *testing.T, inside, pasting lab.CLI, mount, full string) {
	t.Helper()
	ask := func(args ...string) string {
		t.Helper()
		result := w.run(t, inside, "", args...)
		require.NoError(t, result.Err(), args)
		return result.Stdout
	}
	admin := w.newToken(t)
	ask(plugin.EnableArgs(mount)...)
	ask("write", mount+"/config", "server_url="+w.emulator.URL, "token_id="+admin.ID, "token_secret="+admin.Secret)

	created := ask("write", "-field=next_step", mount+"/roles/ci", "type=managed", "environment_roles=main=viewer")
	require.Contains(t, created, "vault read -namespace='' "+full+"/creds/ci")
	first := parse(t, ask("read", "-format=json", mount+"/creds/ci"))["token_id"]
	require.Contains(t, w.paste(t, pasting, created), fmt.Sprint(first))

	rotated := ask("write", "-f", "-field=next_step", mount+"/rotate/ci")
	require.Contains(t, rotated, fmt.Sprintf("vault write -namespace='' %s/revocations/%s force=true", full, first))
	require.Regexp(t, `revoked\s+true`, w.paste(t, pasting, rotated))

	refused := w.run(t, inside, "", "write", "-f", mount+"/rotate/nobody")
	require.Contains(t, refused.Stderr, "vault list -namespace='' "+full+"/roles")
	require.Regexp(t, `(?m)^ci$`, w.paste(t, pasting, refused.Stderr))

	ask("write", mount+"/roles/job", "type=dynamic", "environment_roles=main=viewer", "max_leases=1")
	ask("read", mount+"/creds/job")
	busy := w.run(t, inside, "", "read", mount+"/creds/job").Stderr
	require.Contains(t, busy, fmt.Sprintf("vault lease revoke -prefix %s/creds/job (in a namespace without the namespace's path)", full))
	ask("lease", "revoke", "-sync", "-prefix", mount+"/creds/job")

	deleted := ask("delete", "-field=next_step", mount+"/roles/ci")
	require.Regexp(t, `revoked\s+1`, w.paste(t, pasting, deleted))
	ask("secrets", "disable", mount)
}
