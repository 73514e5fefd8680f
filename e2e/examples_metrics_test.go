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

// prometheus reads files of rules and metrics as Prometheus does.
func prometheus(t *testing.T, files ...string) (said string, err error) {
	t.Helper()
	for i := range files {
		files[i], err = filepath.Abs(files[i])
		require.NoError(t, err)
	}
	cmd := exec.CommandContext(testContext(t), "go", append([]string{"run", "."}, files...)...)
	cmd.Dir = filepath.Join("..", "tools", "prometheus")
	text, err := cmd.CombinedOutput()
	return string(text), err
}

func TestExamples_MetricsMatchStatusAndTheAlarmsUseThem(t *testing.T) {
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
		require.Empty(t, left, "the script must leave no other file")
		return w.text(t, file)
	}
	text := metrics()
	for key, value := range w.read(t, "modal/status") {
		kind, state, _ := strings.Cut(key, "_")
		switch key {
		case "roles", "revocations": // sums of the other numbers
		case "last_compared_at":
			require.Contains(t, text, "vault_modal_last_compared_seconds ")
		case "version":
			require.Contains(t, text, fmt.Sprintf("vault_modal_build_info{version=%q} 1\n", value))
		case "paused", "out_of_sync":
			require.Contains(t, text, fmt.Sprintf("vault_modal_%s 0\n", key))
		case "admin_token_state":
			require.Contains(t, text, `vault_modal_admin_token{state="ok"} 1`+"\n")
		default:
			require.Contains(t, text, fmt.Sprintf("vault_modal_%s{state=%q} %s\n", kind, state, value))
		}
	}
	require.Contains(t, text, "vault_modal_up 1\n")
	rules := filepath.Join("..", "examples", "prometheus", "modal-alerts.yml")
	said, err := prometheus(t, rules, file)
	require.NoError(t, err, said)
	require.Contains(t, said, "modal: 12 rules")
	broken := w.example(t, "prometheus/modal-alerts.yml", "> 600", "> >")
	said, err = prometheus(t, broken)
	require.Error(t, err, "the check must notice a broken rule")
	require.Contains(t, said, "ModalStatusUnknown")
	for _, name := range regexp.MustCompile(`vault_modal_\w+`).FindAllString(w.text(t, rules), -1) {
		if name != "vault_modal_admin_token_expires_seconds" { // the end of this test covers this metric
			require.Contains(t, text, "\n"+name, "an alarm uses a metric that the script does not write")
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
	require.Equal(t, "# TYPE vault_modal_up gauge\nvault_modal_up 0\n", w.text(t, file), "without an answer the script writes only vault_modal_up")
}
