// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

func TestExamples_RotationScriptRotatesOnceAndFailsIfTheRoleIsOverdue(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, next, rotator := w.newToken(t), w.newToken(t), w.tokenOf(t, "rotator-static.hcl")
	w.must(t, http.MethodPost, "modal/roles/personal", data{"type": "static", "token_id": first.ID, "token_secret": first.Secret})
	folder := filepath.Join(w.lab.Dir, "modal-rotate.d")
	require.NoError(t, os.Mkdir(folder, 0o700))
	for file, text := range map[string]string{
		"personal.id": next.ID + "\n", "personal.secret": next.Secret + "\n",
		"vault.conf": fmt.Sprintf("VAULT_ADDR=%s\nVAULT_TOKEN=%s\n", w.Addr, rotator),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600))
	}
	script := w.example(t, "rotation/modal-rotate", "/etc/modal-rotate", folder)
	require.NoError(t, os.MkdirAll(w.bin(), 0o700))
	require.NoError(t, os.Symlink(script, filepath.Join(w.bin(), "modal-rotate")))

	for range 2 { // The second run has nothing to do.
		said, err := w.program(t, rotator, script).CombinedOutput()
		require.NoError(t, err, lab.Mask(string(said)))
		require.False(t, strings.Contains(string(said), next.Secret), "the output has the secret")
		creds := w.read(t, "modal/creds/personal")
		require.Equal(t, json.Number("2"), creds["version"])
		requireSecret(t, next.Secret, creds["token_secret"])
	}

	w.vault(t, "write", "modal/roles/personal", "refresh_interval=5s", "rotation_period=5s")
	require.NoError(t, lab.Until(w.ctx, "the role to be overdue", func() error {
		if w.read(t, "modal/rotate/personal")["state"] == "ok" {
			return os.ErrNotExist
		}
		return nil
	}))
	cron := w.program(t, "", "sh", "-c", w.cronCommand(t, folder))
	cron.Env = append(cron.Env, "VAULT_ADDR=", "VAULT_TOKEN=")
	said, err := cron.CombinedOutput()
	require.Error(t, err, "cron must report an overdue role")
	require.Contains(t, string(said), "overdue")
}

// cronCommand returns the command that cron gives to sh: the rest of the line after the time and the user.
func (w *world) cronCommand(t *testing.T, folder string) string {
	t.Helper()
	line := regexp.MustCompile(`(?m)^(?:\S+ ){5}root (.+)$`).FindStringSubmatch(
		w.text(t, w.example(t, "rotation/modal-rotate.cron", "/etc/modal-rotate", folder)))
	require.Len(t, line, 2)
	return line[1]
}
