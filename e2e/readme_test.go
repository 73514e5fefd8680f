// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// guide is the pages whose commands are run, in the order in which a reader follows them.
var guide = []string{"README.md", "docs/consumers.md", "docs/troubleshooting.md", "docs/threat-model.md", "docs/operations.md"}

var (
	// guideBlock is a fenced block that is to be run, whose language is "sh", followed by "test", or one of
	// what is printed, "text".
	guideBlock = regexp.MustCompile("(?ms)^```(sh test|text)\n(.*?)^```$")
	// typed is a secret that a block waits for.
	typed = regexp.MustCompile(`read -rs SECRET`)
	// printedKey begins a line of a table that the vault command prints.
	printedKey = regexp.MustCompile(`(?m)^([a-z_]+) {2,}\S`)
)

// beside is what the suite does and checks beside the text, after the first block that contains the key: a
// reader copies no assertions.
func beside(page *url.URL) map[string]string {
	// deleted makes and deletes tokens as a person would on Modal's page.
	deleted := fmt.Sprintf(`exec 3<>/dev/tcp/%s/%s
printf 'POST /tokens/%%s/delete HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\nContent-Length: 0\r\n\r\n' "$TOKEN_ID" >&3
head -n 1 <&3 | grep ' 200 '
exec 3>&-
`, page.Hostname(), page.Port())
	return map[string]string{
		"allowed_environments=main": `test "$(vault read -field=manages_service_users modal/config)" = true`,
		"wrapping_token":            `grep active ~/.modal.toml`,
		"vault write modal/rotate/personal \\\n  token_id=\"${NEW_TOKEN_ID": deleted + `
test "$(vault read -field=state modal/revocations/"$TOKEN_ID")" = 'waiting for an operator'`,
		`vault write -f modal/revocations/"${TOKEN_ID`: `refused vault read modal/revocations/"$TOKEN_ID"`,
		"modal-ci-rotator": `
READER=$(vault token create -policy=modal-ci-reader -field=token)
ROTATOR=$(vault token create -policy=modal-ci-rotator -field=token)
VAULT_TOKEN=$READER vault read -field=token_id modal/creds/ci
test "$(vault token capabilities "$READER" modal/creds/ci/env)" = deny
VAULT_TOKEN=$ROTATOR vault write modal/rotate/ci dry_run=true
VAULT_TOKEN=$ROTATOR refused vault write modal/rotate/ci grace_period=0`,
		"LEAKED=":               `refused vault read modal/revocations/"$LEAKED"`,
		"to_previous=true\n":    `test "$(vault read -field=state modal/revocations/"$(vault list modal/revocations | tail -n 1)")" = 'grace period'`,
		"-exit-after-auth\n":    `grep "$(vault read -field=token_id modal/creds/ci)" ~/modal-agent/.modal.toml`,
		"-field=late":           `test "$(vault read -field=late modal/rotate/personal)" -eq 0; test "$(vault read -field=version modal/rotate/personal)" -eq 2`,
		"OPERATOR=":             `test "$(vault token capabilities "$OPERATOR" modal/creds/ci)" = deny; VAULT_TOKEN=$OPERATOR refused vault write modal/config paused=true`,
		"-scope=global":         `vault secrets list -detailed | grep modal/ | grep -F "$VERSION"`,
		"MONITOR=":              `test -z "$(printf '%s\n' "$STATUS" | sed -nE '/"roles_ok": 2/d; /retrying": [1-9]|waiting": [1-9]|overdue": [1-9]/p')"`,
		"operator raft":         `test -s ~/vault.snap`,
		"service_user_prefix m": `refused vault list modal/roles`,
	}
}

func TestTheCommandsOfTheReadmeAndTheDocsWorkInTheOrderTheyStandThere(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	w := newBareWorld(t)
	page, err := url.Parse(w.emulator.Page)
	require.NoError(t, err)
	checks := beside(page)
	admin, token, next := w.newToken(t), w.newToken(t), w.newToken(t)

	var script, keys strings.Builder
	// A command after "!" ends no shell, whatever comes of it.
	script.WriteString("refused() { if \"$@\"; then return 1; fi; }\n")
	for _, name := range guide {
		text, failed := os.ReadFile(filepath.Join(root, name))
		require.NoError(t, failed)
		for _, block := range guideBlock.FindAllStringSubmatch(string(text), -1) {
			if block[1] == "text" {
				keys.WriteString(block[2])
				continue
			}
			script.WriteString(block[2])
			for key, check := range checks {
				if strings.Contains(block[2], key) {
					script.WriteString(check + "\n")
					delete(checks, key)
				}
			}
		}
	}
	require.Contains(t, script.String(), "vault secrets enable")
	require.Empty(t, checks, "no block for these")

	// One shell for all, as the blocks share variables; -x names the command that failed. It is given the
	// secrets that the blocks wait for in their order.
	shell := exec.CommandContext(w.ctx, "bash", "-euxo", "pipefail", "-c", script.String())
	secrets := []string{admin.Secret, token.Secret, next.Secret, next.Secret}
	require.Len(t, typed.FindAllString(script.String(), -1), len(secrets))
	shell.Stdin = strings.NewReader(strings.Join(secrets, "\n") + "\n")
	shell.Dir = root
	shell.Env = append(w.readmeEnv(t), "ADMIN_TOKEN_ID="+admin.ID, "TOKEN_ID="+token.ID, "NEW_TOKEN_ID="+next.ID)
	said, err := shell.CombinedOutput()
	require.NoError(t, err, lab.Mask(string(said)))
	for _, key := range printedKey.FindAllStringSubmatch(keys.String(), -1) {
		require.Regexp(t, `(?m)^`+key[1]+` {2,}\S`, string(said), "a page shows output that does not come")
	}

	require.NotContains(t, w.vault(t, "secrets", "list"), "modal/")
	require.NotContains(t, w.vault(t, "plugin", "list", "secret"), lab.PluginName)
	state, err := w.emulator.State(w.ctx)
	require.NoError(t, err)
	require.Empty(t, state.ServiceUsers, "the commands leave service users at Modal")
}

// readmeEnv is what the pages expect of their reader: the vault command and a server to administer, Go, and a
// home.
func (w *world) readmeEnv(t *testing.T) []string {
	t.Helper()
	home := filepath.Join(w.lab.Dir, "reader")
	require.NoError(t, os.Mkdir(home, 0o700))
	require.NoError(t, os.Symlink(tools.Vault, filepath.Join(home, "vault")))
	env := []string{
		"HOME=" + home, "PATH=" + home + ":" + os.Getenv("PATH"),
		"VAULT_ADDR=" + w.Addr, "VAULT_TOKEN=" + w.Token, "SERVER_URL=" + w.emulator.URL,
	}
	// Go's own places, which it would look for under the other home.
	for _, name := range []string{"GOENV", "GOCACHE", "GOMODCACHE", "GOPATH"} {
		value, err := exec.CommandContext(w.ctx, "go", "env", name).Output()
		require.NoError(t, err)
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	return env
}
