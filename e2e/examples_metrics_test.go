// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// promtool runs Prometheus' own tool, built from the module pinned in tools/prometheus.
func promtool(t *testing.T, stdin string, args ...string) (said string, err error) {
	t.Helper()
	modfile := filepath.Join("..", "tools", "prometheus", "go.mod")
	cmd := exec.CommandContext(testContext(t), "go", append([]string{"tool", "-modfile=" + modfile, "promtool"}, args...)...)
	cmd.Stdin = strings.NewReader(stdin)
	text, err := cmd.CombinedOutput()
	return string(text), err
}

func TestTheMetricsScriptSaysWhatStatusSaysAndTheAlarmsAreOnThat(t *testing.T) {
	t.Parallel()
	w := newManagedWorld(t)
	w.newManagedRole(t)
	w.newRole(t)
	w.rotate(t)
	token, file := w.tokenOf(t, "monitor.hcl"), filepath.Join(w.lab.Dir, "modal.prom")
	metrics := func() string {
		t.Helper()
		script := w.program(t, token, w.example(t, "prometheus/modal-metrics"))
		script.Env = append(script.Env, "METRICS_FILE="+file)
		said, err := script.CombinedOutput()
		require.NoError(t, err, string(said))
		left, err := filepath.Glob(file + "?*")
		require.NoError(t, err)
		require.Empty(t, left, "nothing but the file is left")
		return w.text(t, file)
	}
	text := metrics()
	for key, value := range w.read(t, "modal/status") {
		kind, state, _ := strings.Cut(key, "_")
		switch key {
		case "roles", "revocations": // sums of what is told
		case "paused", "diverged":
			require.Contains(t, text, fmt.Sprintf("vault_modal_%s 0\n", key))
		case "admin_token_state":
			require.Contains(t, text, `vault_modal_admin_token{state="ok"} 1`+"\n")
		default:
			require.Contains(t, text, fmt.Sprintf("vault_modal_%s{state=%q} %s\n", kind, state, value))
		}
	}
	require.Contains(t, text, "vault_modal_up 1\n")
	said, err := promtool(t, text, "check", "metrics")
	require.NoError(t, err, said)

	rules := filepath.Join("..", "examples", "prometheus", "modal-alerts.yml")
	said, err = promtool(t, "", "check", "rules", "--lint=all", "--lint-fatal", rules)
	require.NoError(t, err, said)
	for _, name := range regexp.MustCompile(`vault_modal_\w+`).FindAllString(w.text(t, rules), -1) {
		if name != "vault_modal_admin_token_expires_seconds" { // see below
			require.Contains(t, text, "\n"+name, "an alarm is on what the script does not tell")
		}
	}

	expiring, err := w.emulator.NewExpiringToken(w.ctx, 24*time.Hour)
	require.NoError(t, err)
	require.NoError(t, w.run(t, w.CLI, expiring.Secret, "write", "modal/config", "paused=true", "token_id="+expiring.ID, "token_secret=-").Err())
	text = metrics()
	require.Contains(t, text, "vault_modal_paused 1\n")
	expires, err := time.Parse(time.RFC3339, fmt.Sprint(w.read(t, "modal/status")["admin_token_expires_at"]))
	require.NoError(t, err)
	require.Contains(t, text, fmt.Sprintf("vault_modal_admin_token_expires_seconds %d\n", expires.Unix()))

	script := w.program(t, "wrong", w.example(t, "prometheus/modal-metrics"))
	script.Env = append(script.Env, "METRICS_FILE="+file)
	require.Error(t, script.Run())
	require.Equal(t, "# TYPE vault_modal_up gauge\nvault_modal_up 0\n", w.text(t, file), "what is not known is not told")
}
