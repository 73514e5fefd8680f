// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// guide lists the pages whose commands run, in a reader's order. The other pages have no commands to run.
var guide = []string{
	"README.md", "docs/policies.md", "docs/consumers.md", "docs/troubleshooting.md", "docs/threat-model.md", "docs/operations.md",
}

// These patterns match the fenced blocks of the pages. "sh test" blocks run. "sh bare" blocks run in a Vault
// without the plugin, after Uninstall. The "sh start" block is started and stays. "sh" blocks need something
// that no test has. "text" blocks show output.
var (
	guideBlock = regexp.MustCompile("(?ms)^```(sh[ a-z]*|text)\n(.*?)^```$")
	notInTests = regexp.MustCompile(`\b(kubectl|nomad|envconsul|terraform|systemctl|make bench|make demo|auth enable kubernetes|oidc_discovery_url)\b`)
	// installing matches the section of the README that runs again at the end.
	installing = regexp.MustCompile(`(?ms)^## Install\n.*?^## `)
	// secretPrompt matches a secret that a block waits for.
	secretPrompt = regexp.MustCompile(`read -rs SECRET`)
	// printedKey matches the beginning of a line in a table that the vault command prints.
	printedKey = regexp.MustCompile(`(?m)^([a-z_]+) {2,}\S`)
)

// prepareBefore maps a key to the situation that a block needs. The suite creates the situation before the first
// block that contains the key.
var prepareBefore = map[string]string{
	"modal/lookup":               `LEAKED=$(vault read -field=token_id modal/creds/ci)`,
	"rotate/ci grace_period=0\n": `LEAKED=$(vault read -field=token_id modal/creds/ci) CURRENT=$LEAKED`,
	`revocations/"${LEAKED`:      `LEAKED=$TOKEN_ID`,
	"to_previous=true\n": `GOOD=$(vault read -field=token_id modal/creds/ci)
vault write -f modal/rotate/ci
BAD=$(vault read -field=token_id modal/creds/ci)`,
	"sys/audit-hash": `LEAKED=$CURRENT`,
}

// checkAfter returns what the suite does and checks after the first block that contains the key. The pages
// contain no assertions, because readers would copy them.
func checkAfter(page *url.URL) map[string]string {
	// approved does what a person does in the browser. The block's answer showed the url and the test did not
	// keep it. The emulator's page lists all flows too.
	approved := fmt.Sprintf(`exec 3<>/dev/tcp/%[1]s/%[2]s
printf 'GET / HTTP/1.0\r\nHost: localhost\r\n\r\n' >&3
PLACE=$(grep -o 'token-flow/tf-[A-Za-z0-9]*' <&3 | tail -n 1)
exec 3>&-
exec 3<>/dev/tcp/%[1]s/%[2]s
printf 'POST /token-flow/%%s/approve HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 29\r\n\r\nworkspace=demo&owner=operator' "${PLACE##*/}" >&3
head -n 1 <&3 | grep ' 200 '
exec 3>&-
`, page.Hostname(), page.Port())
	return map[string]string{
		"allowed_environments=main": `test "$(vault read -field=manages_service_users modal/config)" = true`,
		"wrapping_token": `grep active "$MODAL_CONFIG_PATH"
find "$MODAL_CONFIG_PATH" -perm 600 | grep modal-ci.toml`,
		"rotate/personal/approval": approved + `
test "$(vault read -field=state modal/rotate/personal/approval wait=20s)" = done
test "$(vault read -field=state modal/revocations/"$TOKEN_ID")" = 'grace period'`,
		"modal/verify/ci": `test "$(vault write -f -field=accepted modal/verify/ci)" = true`,
		"lease revoke":    `refused vault list modal/revocations`,
		"modal-ci-rotator": `
READER=$(vault token create -policy=modal-ci-reader -field=token)
ROTATOR=$(vault token create -policy=modal-ci-rotator -field=token)
VAULT_TOKEN=$READER vault read -field=token_id modal/creds/ci
VAULT_TOKEN=$ROTATOR vault write modal/rotate/ci dry_run=true
VAULT_TOKEN=$ROTATOR refused vault write modal/rotate/ci grace_period=0`,
		"modal/lookup": `test "$(vault write -field=next_step modal/lookup token_id="$LEAKED")" = "vault write modal/rotate/ci grace_period=0"`,
		// The engine does the same within a minute, possibly before this command.
		"rotate/ci grace_period=0\n": `vault write -f modal/revocations/"$LEAKED" || true
refused vault read modal/revocations/"$LEAKED"
test "$(vault read -field=token_id modal/creds/ci)" != "$LEAKED"`,
		`revocations/"${LEAKED`: `refused vault read modal/revocations/"$LEAKED"`,
		"to_previous=true\n": `test "$(vault read -field=token_id modal/creds/ci)" = "$GOOD"
test "$(vault read -field=state modal/revocations/"$BAD")" = 'grace period'`,
		"audit-non-hmac": `AUDIT=$(vault audit list -detailed -format=json | sed -n 's/.*"file_path": "\(.*\)".*/\1/p')
NOW=$(vault read -field=token_id modal/creds/ci)
vault read -field=MODAL_TOKEN_ID modal/creds/ci/env
for KEY in token_id MODAL_TOKEN_ID; do grep -cF "\"$KEY\":\"$NOW\"" "$AUDIT"; done`,
		"sys/audit-hash": `HASH=$(vault write -field=hash sys/audit-hash/file input="$LEAKED")
grep -F "$HASH" "$AUDIT" | grep -F '"path":"modal/creds/ci"' | grep -cF '"remote_address"'`,
		"-exit-after-auth\n":                   `grep "$(vault read -field=token_id modal/creds/ci)" ~/modal-agent/.modal.toml`,
		"-field=state modal/rotate/personal\n": `test "$(vault read -field=state modal/rotate/personal)" = ok; test "$(vault read -field=version modal/rotate/personal)" -eq 3`,
		"OPERATOR=":                            `test "$(vault token capabilities "$OPERATOR" modal/creds/ci)" = deny; VAULT_TOKEN=$OPERATOR refused vault write modal/config paused=true`,
		"-scope=global":                        `vault secrets list -detailed | grep modal/ | grep -F "$VERSION"`,
		"MONITOR=":                             `test -z "$(printf '%s\n' "$STATUS" | sed -nE '/"roles_ok": 3/d; /retrying": [1-9]|waiting": [1-9]|overdue": [1-9]/p')"`,
		"operator raft":                        `test -s ~/vault.snap`,
		"service_user_prefix m":                `refused vault list modal/roles`,
		"secrets disable": `
refused grep modal/ <<<"$(vault secrets list)"
refused grep modal <<<"$(vault plugin list secret)"
test -z "$(ls "$PLUGIN_DIR")"
refused grep modal- <<<"$(vault policy list)"`,
		"secrets enable": `vault secrets list -detailed | grep modal/ | grep -F "$VERSION"`,
	}
}

func TestReadme_CommandsOfReadmeAndDocsWorkInTheirOrder(t *testing.T) {
	t.Parallel()
	g := readGuide(t)
	dev := startDev(t, g.start)
	script := dev.block + g.script(t, maps.Clone(prepareBefore), checkAfter(dev.page))

	// All blocks run in one shell, because they share variables. -x names the command that failed. The shell
	// reads the secrets that the blocks wait for, in order.
	shell := exec.CommandContext(dev.ctx, "bash", "-euxo", "pipefail", "-c", script)
	var secrets []string
	for _, name := range []string{"ADMIN_TOKEN_SECRET", "TOKEN_SECRET", "NEW_TOKEN_SECRET", "NEW_TOKEN_SECRET"} {
		secrets = append(secrets, dev.variable(t, name))
	}
	require.Len(t, secretPrompt.FindAllString(script, -1), len(secrets))
	shell.Stdin = strings.NewReader(strings.Join(secrets, "\n") + "\n")
	shell.Dir = ".."
	home := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(home, ".modal.toml"), []byte(ownProfiles), 0o600))
	shell.Env = readerEnv(t, home)
	said, err := shell.CombinedOutput()
	require.NoError(t, err, lab.Mask(string(said)))
	own, err := os.ReadFile(filepath.Join(home, ".modal.toml"))
	require.NoError(t, err)
	require.Equal(t, ownProfiles, string(own), "the reader's own profiles are overwritten")
	for _, key := range printedKey.FindAllStringSubmatch(g.printed, -1) {
		require.Regexp(t, `(?m)^`+key[1]+` {2,}\S`, string(said), "a page shows output that no command prints")
	}
	emulator := &lab.Emulator{URL: dev.variable(t, "SERVER_URL"), Page: dev.page.String()}
	state, err := emulator.State(dev.ctx)
	require.NoError(t, err)
	require.Empty(t, state.ServiceUsers, "the commands leave service users at Modal")

	dev.interrupt(t)
}

// pages holds the blocks of the guide.
type pages struct {
	start    string   // the command that keeps running
	commands []string // in the order of the pages
	bare     []string // for a Vault that no longer has the plugin
	printed  string
}

func readGuide(t *testing.T) *pages {
	t.Helper()
	g := &pages{}
	docs, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	names := guide
	for _, page := range docs {
		if name := filepath.Join("docs", filepath.Base(page)); !slices.Contains(guide, name) {
			names = append(names, name)
		}
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join("..", name))
		require.NoError(t, err)
		for _, block := range guideBlock.FindAllStringSubmatch(string(text), -1) {
			switch block[1] {
			case "text":
				g.printed += block[2]
			case "sh start":
				require.Empty(t, g.start, "only one block may keep running")
				require.Empty(t, g.commands, "the block that keeps running must come first")
				g.start = block[2]
			case "sh test":
				require.Contains(t, guide, name, "a page with commands must be in the guide")
				g.commands = append(g.commands, block[2])
			case "sh bare":
				require.Empty(t, g.bare, "only one section may have such blocks")
				for _, again := range guideBlock.FindAllStringSubmatch(installing.FindString(string(text)), -1) {
					g.bare = append(g.bare, again[2])
				}
				require.Contains(t, g.bare, block[2])
			default:
				require.Equal(t, "sh", block[1], name)
				require.Regexp(t, notInTests, block[2], "%s: a test could run this block", name)
			}
		}
	}
	return g
}

// script returns all commands that a reader pastes. Each block comes after its situation and before its
// checks.
func (g *pages) script(t *testing.T, situations, checks map[string]string) string {
	t.Helper()
	var script strings.Builder
	// A command after "refused" must fail. Its failure does not end the shell.
	script.WriteString("refused() { if \"$@\"; then return 1; fi; }\n")
	for _, block := range append(g.commands, g.bare...) {
		take(&script, situations, block)
		script.WriteString(block)
		take(&script, checks, block)
	}
	require.Empty(t, situations, "no block contains these keys")
	require.Empty(t, checks, "no block contains these keys")
	return script.String()
}

// take moves the texts whose key the block contains into the script.
func take(script *strings.Builder, texts map[string]string, block string) {
	for key, text := range texts {
		if strings.Contains(block, key) {
			script.WriteString(text + "\n")
			delete(texts, key)
		}
	}
}

// ownProfiles is a reader's own ~/.modal.toml.
const ownProfiles = "[personal]\nactive = true\n\n[work]\n"

// readerEnv returns the environment that the pages expect in addition to the output of make dev: Go and a
// home directory.
func readerEnv(t *testing.T, home string) []string {
	t.Helper()
	env := []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	// These are Go's own directories. Without them Go would look in the other home directory.
	for _, name := range []string{"GOENV", "GOCACHE", "GOMODCACHE", "GOPATH"} {
		value, err := exec.CommandContext(t.Context(), "go", "env", name).Output()
		require.NoError(t, err)
		env = append(env, name+"="+strings.TrimSpace(string(value)))
	}
	return env
}
