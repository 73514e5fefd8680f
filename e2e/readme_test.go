// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"io/fs"
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
	"README.md", "docs/how-to/emergencies.md", "docs/policies.md", "docs/how-to/which-job.md",
	workloadsPage, "docs/consumers.md",
	"docs/how-to/programs.md", "docs/how-to/vault-agent.md", "docs/how-to/several-accounts.md", "docs/how-to/systemd-and-shells.md",
	"docs/how-to/rotate-a-static-role.md", "docs/how-to/rotate-monthly-at-night.md", "docs/how-to/rotate-at-each-deploy.md",
	"docs/how-to/move-from-kv.md", "docs/how-to/two-workspaces.md", "docs/how-to/modal-down.md", "docs/how-to/vault-down.md",
	"docs/operations.md", "docs/how-to/upgrade.md", "docs/how-to/alarms.md", "docs/how-to/restore.md", "docs/how-to/uninstall.md",
}

// tutorial runs by itself, from an empty Vault to its end.
const tutorial = "docs/tutorial.md"

// These patterns match the fenced blocks of the pages. "sh test" blocks run. "sh bare" blocks run in a Vault
// without the plugin, after Uninstall. The "sh start" block is started and stays. "sh" blocks need something
// that no test has. "text" blocks show output.
var (
	guideBlock = regexp.MustCompile("(?ms)^```(sh[ a-z]*|text)\n(.*?)^```$")
	notInTests = regexp.MustCompile(`\b(?:kubectl|nomad|envconsul|terraform|systemctl|ssh|make bench|make demo|auth enable kubernetes|oidc_discovery_url|openssl|ca_cert=@|modal run)`)
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
	// This block is the last step of which-job.md. The names and the audit log lead to the reader of the lease.
	"force=true\n": `vault write -field=service_user modal/lookup token_id="$LEAKED" | grep -E '^vault-[0-9a-f]{8}-job-token-acme-train-'
vault write -field=service_user modal/lookup token_id="$LEAKED" | grep -F "$(vault write -field=revocation modal/lookup token_id="$LEAKED")"
vault write -field=next_step modal/lookup token_id="$LEAKED" | grep 'vault write modal/revocations/vault-.* force=true'
HASH=$(vault write -field=hash sys/audit-hash/file input="$LEAKED")
FOUND=$(grep -F -e "$LEAKED" -e "$HASH" "$AUDIT" | grep -F '"display_name":"token-acme-train"' | grep -F '"metadata":{"run_id":"4711"}' | grep -F '"path":"modal/creds/job/env"')
test -n "$FOUND"`,
	"to_previous=true\n": `GOOD=$(vault read -field=token_id modal/creds/ci)
vault write -f modal/rotate/ci
BAD=$(vault read -field=token_id modal/creds/ci)`,
	"sys/audit-hash": `LEAKED=$CURRENT`,
	"kv get": `vault secrets enable -path=secret -version=2 kv
vault kv put secret/modal token_id="$NEW_TOKEN_ID" token_secret="$NEW_TOKEN_SECRET"
VERSION_BEFORE=$(vault read -field=version modal/rotate/personal)`,
	"kv list":   `vault kv put secret/modal-tokens/personal token_id="$NEW_TOKEN_ID" token_secret="$NEW_TOKEN_SECRET"`,
	"DEPLOYER=": `BEFORE=$(vault read -field=token_id modal/creds/ci)`,
}

// checkAfter returns what the suite does and checks after the first block that contains the key. The pages
// contain no assertions, because readers would copy them. identity is the identity token of a container at Modal.
func checkAfter(page *url.URL, identity string) map[string]string {
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
		// Vault revokes the lease after its answer.
		"lease revoke": `for _ in {1..60}; do vault list modal/revocations || break; sleep 1; done
refused vault list modal/revocations`,
		"modal-ci-rotator": `
READER=$(vault token create -policy=modal-ci-reader -field=token)
ROTATOR=$(vault token create -policy=modal-ci-rotator -field=token)
VAULT_TOKEN=$READER vault read -field=token_id modal/creds/ci
VAULT_TOKEN=$ROTATOR vault write modal/rotate/ci dry_run=true
VAULT_TOKEN=$ROTATOR refused vault write modal/rotate/ci grace_period=0`,
		"modal/lookup":               `test "$(vault write -field=next_step modal/lookup token_id="$LEAKED")" = "vault write modal/rotate/ci grace_period=0"`,
		"rotate/ci grace_period=0\n": `test "$(vault read -field=token_id modal/creds/ci)" != "$LEAKED"`,
		// The engine does the same within a minute, possibly before this block. A previous token ends in the same way.
		`revocations/"${LEAKED`: `refused vault read modal/revocations/"$LEAKED"
vault write modal/revocations/"$TOKEN_ID" force=true
refused vault read modal/revocations/"$TOKEN_ID"`,
		"to_previous=true\n": `test "$(vault read -field=token_id modal/creds/ci)" = "$GOOD"
test "$(vault read -field=state modal/revocations/"$BAD")" = 'grace period'`,
		"config/approval lapse_after": approved + `
test "$(vault read -field=state modal/config/approval wait=20s)" = done`,
		"kv get": `test "$(vault read -field=version modal/rotate/personal)" -eq "$VERSION_BEFORE"`,
		"kv list": `test "$(vault read -field=version modal/rotate/personal)" -eq "$VERSION_BEFORE"
vault policy read modal-personal-reader | grep -F '"modal/creds/personal"'
vault policy delete modal-personal-reader`,
		"kv metadata delete secret/modal\n": `refused vault kv get secret/modal`,
		"kv metadata delete secret/modal-tokens": `refused vault kv list secret/modal-tokens
vault secrets disable secret/`,
		"rotation_schedule='30 2": `vault read -field=next_rotation modal/rotate/ci | grep -E -- '-01T02:(3|4)'`,
		"DEPLOYER=": `test "$(vault read -field=token_id modal/creds/ci)" != "$BEFORE"
VAULT_TOKEN=$DEPLOYER refused vault write modal/rotate/ci grace_period=0
VAULT_TOKEN=$DEPLOYER refused vault read modal/creds/ci`,
		"modal-second/config pinned": `test "$(vault read -field=pinned_workspace modal-second/config)" = second
vault secrets disable modal-second/`,
		"s#modal/#modal-second/#": `vault policy read modal-second-ci-reader | grep -F '"modal-second/creds/ci"'
vault policy delete modal-second-ci-reader`,
		"modal-second-alerts": `grep vault_modal_second_up ~/modal-metrics/modal-second-alerts.yml.new
refused grep -E 'vault_modal_[^s]|modal/|Modal(Status|Token)' ~/modal-metrics/modal-second-alerts.yml.new
grep modal-second/status ~/modal-metrics/modal-second-metrics.new
refused grep -E 'vault_modal_[^s]' ~/modal-metrics/modal-second-metrics.new`,
		"audit-non-hmac": `NOW=$(vault read -field=token_id modal/creds/ci)
vault read -field=MODAL_TOKEN_ID modal/creds/ci/env
for KEY in token_id MODAL_TOKEN_ID; do grep -cF "\"$KEY\":\"$NOW\"" "$AUDIT"; done`,
		"sys/audit-hash": `HASH=$(vault write -field=hash sys/audit-hash/file input="$LEAKED")
grep -F "$HASH" "$AUDIT" | grep -F '"path":"modal/creds/ci"' | grep -cF '"remote_address"'`,
		"service_user_name_template=": `JOB=$(vault token create -policy=modal-job -display-name=acme/train -metadata=run_id=4711 -field=token)
LEAKED=$(VAULT_TOKEN=$JOB vault read -field=MODAL_TOKEN_ID modal/creds/job/env)`,
		"force=true\n": `test "$(vault write -field=kind modal/lookup token_id="$LEAKED")" = unknown`,
		"jwt-modal/role/train": `LOGIN=$(vault write -field=token auth/jwt-modal/login role=train jwt=` + identity + `)
VAULT_TOKEN=$LOGIN vault read -field=token_id modal/creds/job
VAULT_TOKEN=$LOGIN refused vault read modal/creds/job/env
VAULT_TOKEN=$LOGIN vault token revoke -self`,
		"-exit-after-auth\n":                   `grep "$(vault read -field=token_id modal/creds/ci)" ~/modal-agent/.modal.toml`,
		"-field=state modal/rotate/personal\n": `test "$(vault read -field=state modal/rotate/personal)" = ok; test "$(vault read -field=version modal/rotate/personal)" -eq 3`,
		"OPERATOR=": `test "$(vault token capabilities "$OPERATOR" modal/creds/ci)" = deny; VAULT_TOKEN=$OPERATOR refused vault write modal/config paused=true
DUTY=$(vault token create -policy=modal-operator -policy=modal-emergency -field=token)
VAULT_TOKEN=$DUTY vault audit list -detailed
VAULT_TOKEN=$DUTY vault write sys/audit-hash/file input="$LEAKED"
VAULT_TOKEN=$DUTY vault lease revoke -prefix modal/creds/job
VAULT_TOKEN=$DUTY vault lease revoke -prefix modal/creds
VAULT_TOKEN=$DUTY refused vault lease revoke -prefix auth/
VAULT_TOKEN=$DUTY vault write modal/config/approval grace_period=0 lapse_after=24h
VAULT_TOKEN=$DUTY vault read modal/config/approval wait=1s
VAULT_TOKEN=$DUTY vault delete modal/config/approval
VAULT_TOKEN=$DUTY refused vault write modal/config/approval force=true
printf %s "$ADMIN_TOKEN_SECRET" | VAULT_TOKEN=$DUTY vault write modal/config/rotate token_id="$ADMIN_TOKEN_ID" token_secret=-
VAULT_TOKEN=$DUTY refused vault write modal/config/rotate token_id="$ADMIN_TOKEN_ID" force=true
VAULT_TOKEN=$DUTY refused vault read modal/creds/ci`,
		"-scope=global": `INSTALLER=$(vault token create -policy=modal-installer -field=token)
VAULT_TOKEN=$INSTALLER vault plugin register -sha256="$SHA256" -version="$VERSION" -command="vault-plugin-secrets-modal_$VERSION" secret vault-plugin-secrets-modal
VAULT_TOKEN=$INSTALLER vault secrets tune -plugin-version="$VERSION" modal/
VAULT_TOKEN=$INSTALLER vault plugin reload -plugin=vault-plugin-secrets-modal -scope=global
test "$(VAULT_TOKEN=$INSTALLER vault read -field=plugin_directory sys/config/state/sanitized)" = "$PLUGIN_DIR"
test "$(VAULT_TOKEN=$INSTALLER vault read -field=running_plugin_version sys/mounts/modal)" = "$VERSION"
VAULT_TOKEN=$INSTALLER vault plugin list -detailed secret | grep -F "$VERSION"
VAULT_TOKEN=$INSTALLER refused vault secrets disable modal
VAULT_TOKEN=$INSTALLER refused vault read modal/creds/ci
vault secrets list -detailed | grep modal/ | grep -F "$VERSION"`,
		"-plugin-version=\"${OLD_VERSION": `test "$(vault read -field=running_plugin_version sys/mounts/modal)" = "$OLD_VERSION"`,
		"MONITOR=":                        `test -z "$(printf '%s\n' "$STATUS" | sed -nE '/"roles_ok": 4/d; /retrying": [1-9]|waiting": [1-9]|overdue": [1-9]/p')"`,
		"operator raft":                   `test -s ~/vault.snap`,
		"service_user_prefix m":           `refused vault list modal/roles`,
		"secrets disable":                 `refused grep modal/ <<<"$(vault secrets list)"`,
		"plugin deregister": `refused grep modal <<<"$(vault plugin list secret)"
test -z "$(ls "$PLUGIN_DIR")"`,
		"list auth/token/accessors": `refused grep modal- <<<"$(vault policy list)"
refused vault token lookup "$MONITOR"`,
		"secrets enable -path=modal -": `vault secrets list -detailed | grep modal/ | grep -F "$VERSION"`,
	}
}

func TestReadme_CommandsOfReadmeAndDocsWorkInTheirOrder(t *testing.T) {
	t.Parallel()
	g := readGuide(t, guide)
	g.printed += readGuide(t, otherPages(t)).printed
	dev := startDev(t, g.start)
	emulator := &lab.Emulator{URL: dev.variable(t, "SERVER_URL"), Page: dev.page.String()}
	identity, err := emulator.IdentityToken(dev.ctx, nil)
	require.NoError(t, err)
	g.run(t, dev, g.script(t, maps.Clone(prepareBefore), checkAfter(dev.page, identity)), "ADMIN_TOKEN_SECRET", "TOKEN_SECRET", "NEW_TOKEN_SECRET", "ADMIN_TOKEN_SECRET", "NEW_TOKEN_SECRET")
	state, err := emulator.State(dev.ctx)
	require.NoError(t, err)
	require.Empty(t, state.ServiceUsers, "the commands leave service users at Modal")
	dev.interrupt(t)
}

func TestReadme_TutorialWorksFromAnEmptyVault(t *testing.T) {
	t.Parallel()
	g := readGuide(t, []string{tutorial})
	dev := startDev(t, g.start)
	g.run(t, dev, g.script(t, nil, map[string]string{
		"until test -s": `find "$HOME/modal-tutorial/.modal.toml" -perm 600 | grep modal-tutorial`,
		"until grep -q": `test "$OLD" != "$NEW"
test "$(vault read -field=state modal/revocations/"$OLD")" = 'grace period'`,
		"revocations/\"${OLD": `refused vault read modal/revocations/"$OLD"`,
		"rm -r": `wait "$AGENT" || true
refused test -e "$HOME/modal-tutorial"`,
	}), "ADMIN_TOKEN_SECRET")
	dev.interrupt(t)
}

func TestReadme_EveryPageIsInAGuideOrHasNoCommandsToRun(t *testing.T) {
	t.Parallel()
	others := otherPages(t)
	require.Greater(t, len(others), 10)
	require.Empty(t, readGuide(t, others).commands, "add the page to the guide")
}

// otherPages returns the pages below docs whose commands do not run.
func otherPages(t *testing.T) (names []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir("../docs", func(file string, _ fs.DirEntry, err error) error {
		name, found := strings.CutPrefix(filepath.ToSlash(file), "../")
		if found && filepath.Ext(name) == ".md" && name != tutorial && !slices.Contains(guide, name) {
			names = append(names, name)
		}
		return err
	}))
	return names
}

// run runs a script in one shell, because the blocks share variables. -x names the command that failed. The shell
// reads the secrets that the blocks wait for, in order.
func (g *pages) run(t *testing.T, dev *dev, script string, secretNames ...string) {
	t.Helper()
	script = dev.block + script
	shell := exec.CommandContext(dev.ctx, "bash", "-euxo", "pipefail", "-c", script)
	var secrets []string
	for _, name := range secretNames {
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
		require.Regexp(t, `(?m)^`+key[1]+` {2,}\S`, lab.Mask(string(said)), "a page shows output that no command prints")
	}
}

// pages holds the blocks of the guide.
type pages struct {
	start    string   // the command that keeps running
	commands []string // in the order of the pages
	bare     []string // for a Vault that no longer has the plugin
	printed  string
}

func readGuide(t *testing.T, names []string) *pages {
	t.Helper()
	g := &pages{}
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
