// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// readmeBlock is a fenced block that is to be run: its language is "sh", followed by "test".
var readmeBlock = regexp.MustCompile("(?ms)^```sh test\n(.*?)^```$")

func TestTheCommandsOfTheReadmeWorkInTheOrderTheyStandThere(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	readme, err := os.ReadFile(filepath.Join(root, "README.md"))
	require.NoError(t, err)
	var script strings.Builder
	for _, block := range readmeBlock.FindAllSubmatch(readme, -1) {
		script.Write(block[1])
	}
	require.Contains(t, script.String(), "vault secrets enable")

	w := newBareWorld(t)
	// One shell for all, as the blocks share variables; -x names the command that failed.
	shell := exec.CommandContext(w.ctx, "bash", "-euxo", "pipefail", "-c", script.String())
	shell.Dir = root
	shell.Env = w.readmeEnv(t)
	said, err := shell.CombinedOutput()
	require.NoError(t, err, lab.Mask(string(said)))

	require.NotContains(t, w.vault(t, "secrets", "list"), "modal/")
	require.NotContains(t, w.vault(t, "plugin", "list", "secret"), lab.PluginName)
	state, err := w.emulator.State(w.ctx)
	require.NoError(t, err)
	require.Empty(t, state.ServiceUsers, "the README's commands leave service users at Modal")
}

// readmeEnv is what the README expects of its reader: the vault command and a server to administer, Go,
// a home, two Modal tokens, and one of the workspace's owner.
func (w *world) readmeEnv(t *testing.T) []string {
	t.Helper()
	home := filepath.Join(w.lab.Dir, "reader")
	require.NoError(t, os.Mkdir(home, 0o700))
	require.NoError(t, os.Symlink(tools.Vault, filepath.Join(home, "vault")))
	admin, token, next := w.newToken(t), w.newToken(t), w.newToken(t)
	env := []string{
		"HOME=" + home, "PATH=" + home + ":" + os.Getenv("PATH"),
		"VAULT_ADDR=" + w.Addr, "VAULT_TOKEN=" + w.Token, "SERVER_URL=" + w.emulator.URL,
		"ADMIN_TOKEN_ID=" + admin.ID, "ADMIN_TOKEN_SECRET=" + admin.Secret,
		"TOKEN_ID=" + token.ID, "TOKEN_SECRET=" + token.Secret,
		"NEW_TOKEN_ID=" + next.ID, "NEW_TOKEN_SECRET=" + next.Secret,
	}
	// Go's own places, which it would look for under the other home.
	for _, name := range []string{"GOENV", "GOCACHE", "GOMODCACHE", "GOPATH"} {
		value, err := exec.CommandContext(w.ctx, "go", "env", name).Output()
		require.NoError(t, err)
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	return env
}
