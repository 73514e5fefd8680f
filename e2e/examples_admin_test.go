// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// attempt is a request of a persona. What Vault's policies allow may still fail for another reason.
type attempt struct {
	args    []string
	allowed bool
}

func may(args ...string) attempt    { return attempt{args, true} }
func mayNot(args ...string) attempt { return attempt{args, false} }

func TestThePolicyExamplesAllowEachPersonaItsWorkAndNoMore(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	forgotten := w.newRole(t)
	former := w.rotate(t)
	w.rotate(t)
	next := w.newToken(t)
	pair := []string{"token_id=" + next.ID, "token_secret=" + next.Secret}
	forms := func(not string) (rest []attempt) {
		for _, form := range []string{"", "/env", "/dotenv", "/toml", "/profile"} {
			if form != not {
				rest = append(rest, mayNot("read", "modal/creds/ci"+form))
			}
		}
		return append(rest, mayNot("read", "modal/roles/ci"), mayNot("read", "modal/rotate/ci"), mayNot("list", "modal/roles"), mayNot("read", "modal/config"))
	}
	for policy, attempts := range map[string][]attempt{
		"reader.hcl":        append(forms(""), may("read", "modal/creds/ci"), mayNot("read", "modal/creds/other")),
		"reader-env.hcl":    append(forms("/env"), may("read", "modal/creds/ci/env")),
		"reader-dotenv.hcl": append(forms("/dotenv"), may("read", "modal/creds/ci/dotenv")),
		"reader-toml.hcl":   append(forms("/toml"), may("read", "modal/creds/ci/toml")),
		"reader-accounts.hcl": {
			may("read", "modal/creds/ci/toml"), mayNot("read", "modal/creds/ci"), mayNot("read", "modal/creds/ci/profile"),
			mayNot("read", "modal/creds/gpu/toml"),
		},
		"rotator.hcl": {
			mayNot("read", "modal/creds/ci"), mayNot("read", "modal/creds/ci/env"), mayNot("write", "modal/roles/ci", "environment=x"),
			mayNot(append([]string{"write", "modal/rotate/ci", "force=true"}, pair...)...),
			mayNot(append([]string{"write", "modal/rotate/ci", "verify=false"}, pair...)...),
			mayNot(append([]string{"write", "modal/rotate/other"}, pair...)...),
			mayNot(append([]string{"write", "modal/rotate/ci", "grace_period=0"}, pair...)...),
			may(append([]string{"write", "modal/rotate/ci"}, pair...)...),
			may("read", "modal/rotate/ci"), may("list", "modal/revocations"), may("read", "modal/revocations/"+former.ID),
			mayNot("write", "modal/revocations/"+former.ID, "force=true"),
			mayNot("delete", "modal/revocations/"+former.ID, "force=true"), mayNot("write", "modal/config", "request_timeout=20s"),
		},
		"operator.hcl": {
			mayNot("read", "modal/creds/ci"), mayNot("read", "modal/creds/ci/env"), mayNot("read", "modal/creds/ci/dotenv"),
			mayNot("read", "modal/creds/ci/toml"),
			mayNot("read", "modal/creds/ci/profile"), may("read", "modal/config"),
			mayNot("write", "modal/config", "request_timeout=20s"), mayNot("delete", "modal/config"),
			may("list", "modal/roles"), may("read", "modal/roles/ci"), may("write", "modal/roles/ci", "refresh_interval=1m"),
			may("list", "modal/rotate"), may("read", "modal/rotate/ci"), may("list", "modal/revocations"),
			may("delete", "modal/revocations/"+forgotten.ID, "force=true"), may("delete", "modal/roles/gone"), may("read", "modal/status"), mayNot("secrets", "list"),
		},
	} {
		persona := w.As(w.tokenOf(t, policy))
		for _, try := range attempts {
			w.requireAttempt(t, policy, persona, try)
		}
	}
}

// requireAttempt makes a request as a persona. Nothing that is allowed here fails otherwise, except for
// reads of what is not there.
func (w *world) requireAttempt(t *testing.T, policy string, persona lab.CLI, try attempt) {
	t.Helper()
	result := w.run(t, persona, "", try.args...)
	what := fmt.Sprintf("%s: %s", policy, lab.Mask(strings.Join(try.args, " ")))
	if try.allowed {
		require.NoError(t, result.Err(), what)
		return
	}
	require.Equal(t, 2, result.Code, what)
	require.Contains(t, result.Stderr, "permission denied", what)
}

func TestTheRotationExampleRotatesOnceAndFailsWhenTheRoleIsOverdue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newRole(t)
	next, rotator := w.newToken(t), w.tokenOf(t, "rotator.hcl")
	folder := filepath.Join(w.lab.Dir, "modal-rotate.d")
	require.NoError(t, os.Mkdir(folder, 0o700))
	for file, text := range map[string]string{
		"ci.id": next.ID + "\n", "ci.secret": next.Secret + "\n",
		"vault.conf": fmt.Sprintf("VAULT_ADDR=%s\nVAULT_TOKEN=%s\n", w.Addr, rotator),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600))
	}
	script := w.example(t, "rotation/modal-rotate", "/etc/modal-rotate", folder)
	require.NoError(t, os.MkdirAll(w.bin(), 0o700))
	require.NoError(t, os.Symlink(script, filepath.Join(w.bin(), "modal-rotate")))
	require.NoError(t, os.Symlink(tools.Vault, filepath.Join(w.bin(), "vault")))

	for range 2 { // The second run has nothing to do.
		said, err := w.program(t, rotator, script).CombinedOutput()
		require.NoError(t, err, lab.Mask(string(said)))
		require.NotContains(t, string(said), next.Secret)
		require.Equal(t, json.Number("2"), w.requireToken(t, next)["version"])
	}

	w.vault(t, "write", "modal/roles/ci", "refresh_interval=5s", "rotation_period=5s")
	require.NoError(t, lab.Until(w.ctx, "the role to be overdue", func() error {
		if w.read(t, "modal/rotate/ci")["late"] == json.Number("0") {
			return os.ErrNotExist
		}
		return nil
	}))
	cron := w.program(t, "", "sh", "-c", w.cronCommand(t, folder))
	cron.Env = append(cron.Env, "VAULT_ADDR=", "VAULT_TOKEN=")
	said, err := cron.CombinedOutput()
	require.Error(t, err, "nobody would hear of it")
	require.Contains(t, string(said), "overdue")
}

// cronCommand is what cron gives to sh: the rest of the line after the time and the user.
func (w *world) cronCommand(t *testing.T, folder string) string {
	t.Helper()
	line := regexp.MustCompile(`(?m)^(?:\S+ ){5}root (.+)$`).FindStringSubmatch(
		w.text(t, w.example(t, "rotation/modal-rotate.cron", "/etc/modal-rotate", folder)))
	require.Len(t, line, 2)
	return line[1]
}
