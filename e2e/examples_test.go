// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// example copies an example and returns the path of the copy. set holds tokens of texts, old and new, that a
// reader would adapt to a machine. The example must contain each old text.
func (w *world) example(t *testing.T, name string, set ...string) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("..", "examples", name))
	require.NoError(t, err)
	text := string(raw)
	for i := 0; i < len(set); i += 2 {
		require.Contains(t, text, set[i], name)
		text = strings.ReplaceAll(text, set[i], set[i+1])
	}
	copied := filepath.Join(w.lab.Dir, filepath.Base(name))
	require.NoError(t, os.WriteFile(copied, []byte(text), 0o700))
	return copied
}

// stub puts a shell script on the examples' PATH, under the name of a program that the examples run. It
// returns the file of the script's standard output.
func (w *world) stub(t *testing.T, name, script string) (output string) {
	t.Helper()
	output = filepath.Join(w.lab.Dir, name+".out")
	require.NoError(t, os.MkdirAll(w.bin(), 0o700))
	text := fmt.Sprintf("#!/bin/sh\nexec >>%q\n%s\n", output, script)
	require.NoError(t, os.WriteFile(filepath.Join(w.bin(), name), []byte(text), 0o700))
	return output
}

func (w *world) bin() string { return filepath.Join(w.lab.Dir, "bin") }

// program returns a command whose environment contains only PATH of the caller's. At the end of the test the
// program and its children are told to stop.
func (w *world) program(t *testing.T, token, name string, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(w.ctx, name, args...)
	cmd.Dir = w.lab.Dir
	cmd.Env = []string{
		"PATH=" + w.bin() + ":" + tools.Bin + ":" + os.Getenv("PATH"), "HOME=" + w.lab.Dir,
		"VAULT_ADDR=" + w.Addr, "VAULT_TOKEN=" + token,
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
	cmd.WaitDelay = 5 * time.Second
	return cmd
}

// background starts a program that runs until the test ends, and returns the file of its output.
func (w *world) background(t *testing.T, cmd *exec.Cmd) (log string) {
	t.Helper()
	file, err := os.CreateTemp(w.lab.Dir, "*.log")
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = file, file
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Cancel() // possibly gone already
		_ = cmd.Wait()   // the test told it to stop
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		_ = file.Close()
		if t.Failed() {
			said, _ := os.ReadFile(file.Name())
			t.Logf("%s said:\n%s", cmd.Path, lab.Mask(string(said)))
		}
	})
	return file.Name()
}

// approle sets up the login of the Agent examples with a policy of the examples.
func (w *world) approle(t *testing.T, policy string) (folder string) {
	t.Helper()
	folder = filepath.Join(w.lab.Dir, "modal-agent")
	require.NoError(t, os.Mkdir(folder, 0o700))
	w.vault(t, "policy", "write", "app", w.example(t, "policies/"+policy))
	w.vault(t, "auth", "enable", "approle")
	w.vault(t, "write", "auth/approle/role/app", "token_policies=app")
	for file, id := range map[string]string{
		"role_id":   w.vault(t, "read", "-field=role_id", "auth/approle/role/app/role-id"),
		"secret_id": w.vault(t, "write", "-f", "-field=secret_id", "auth/approle/role/app/secret-id"),
	} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, file), []byte(id), 0o600))
	}
	return folder
}

// until waits until a file contains exactly the given text. Failures do not show the text, because it may be
// secret.
func (w *world) until(t *testing.T, file, want string) {
	t.Helper()
	var text []byte
	err := lab.Until(w.ctx, "the text of "+file, func() (err error) {
		text, err = os.ReadFile(file)
		if err == nil && string(text) != want {
			err = os.ErrNotExist
		}
		return err
	})
	if err != nil {
		requireSecret(t, want, string(text))
	}
	require.NoError(t, err)
}

func TestExamples_AgentUpdatesTheFileAndRestartsTheAppOncePerRotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newRole(t, "refresh_interval=5s")
	calls := w.stub(t, "systemctl", `echo "$@"`)
	run := filepath.Join(w.lab.Dir, "run")
	config := w.example(t, "agent-file.hcl", "/etc/modal-agent", w.approle(t, "reader-toml.hcl"), "/run/modal", run)
	w.background(t, w.program(t, "", tools.Vault, "agent", "-config="+config))

	file := filepath.Join(run, ".modal.toml")
	w.until(t, file, w.toml(token))
	w.until(t, calls, "try-restart app\n")
	info, err := os.Stat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
	require.NoError(t, w.authenticate(t, file).Err())

	w.until(t, file, w.toml(token))
	next := w.rotate(t)
	w.until(t, file, w.toml(next))
	w.until(t, calls, "try-restart app\ntry-restart app\n")
	require.NoError(t, w.authenticate(t, file).Err())
}

func TestExamples_SupervisorRestartsTheProgramAfterARotation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newRole(t, "refresh_interval=5s", "environment=main")
	runs := w.stub(t, "python3", `echo "$@ $MODAL_ENVIRONMENT $MODAL_TOKEN_ID $MODAL_TOKEN_SECRET"; exec sleep 600`)
	config := w.example(t, "agent-supervisor.hcl", "/etc/modal-agent", w.approle(t, "reader.hcl"))
	w.background(t, w.program(t, "", tools.Vault, "agent", "-config="+config))

	first := "app.py main " + token.ID + " " + token.Secret + "\n"
	w.until(t, runs, first)
	next := w.rotate(t)
	w.until(t, runs, first+"app.py main "+next.ID+" "+next.Secret+"\n")
}

func TestExamples_AccountsJoinsTwoRolesAndOneIsActive(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, other := w.newRole(t, "refresh_interval=5s"), w.newToken(t)
	require.NoError(t, w.run(t, w.CLI, other.Secret, "write", "modal/roles/gpu", "type=static", "token_id="+other.ID, "token_secret=-").Err())
	run := filepath.Join(w.lab.Dir, "run")
	config := w.example(t, "agent-accounts.hcl",
		"/etc/modal-agent", w.approle(t, "reader-accounts.hcl"), "/run/modal", run)
	w.background(t, w.program(t, "", tools.Vault, "agent", "-config="+config))

	file := filepath.Join(run, ".modal.toml")
	gpu := strings.Replace(strings.Replace(w.toml(other), "[ci]", "[gpu]", 1), "active = true\n", "", 1)
	w.until(t, file, w.toml(token)+gpu)
	require.NoError(t, w.authenticate(t, file).Err())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var profiles map[string]map[string]any
	require.NoError(t, toml.Unmarshal(text, &profiles))
	require.Equal(t, true, profiles["ci"]["active"])
	require.NotContains(t, profiles["gpu"], "active")

	next := w.rotate(t)
	w.until(t, file, w.toml(next)+gpu)
}

func TestExamples_EnvconsulRestartsTheProgramAfterARotation(t *testing.T) {
	t.Parallel()
	envconsul, err := exec.LookPath("envconsul")
	if err != nil {
		t.Skip("envconsul is not on the PATH: another test replays what envconsul does")
	}
	w := newWorld(t)
	token := w.newRole(t)
	runs := w.stub(t, "python3", `echo "$@ $(env | grep ^MODAL_ | sort | tr '\n' ' ')"; exec sleep 600`)
	reader := w.tokenOf(t, "reader-env.hcl")
	w.background(t, w.program(t, reader, envconsul, "-config="+w.example(t, "envconsul.hcl", `"60s"`, `"2s"`)))

	line := func(token lab.Token) string {
		return fmt.Sprintf("app.py MODAL_SERVER_URL=%s MODAL_TOKEN_ID=%s MODAL_TOKEN_SECRET=%s \n", w.emulator.URL, token.ID, token.Secret)
	}
	w.until(t, runs, line(token))
	next := w.rotate(t)
	w.until(t, runs, line(token)+line(next))
}

// tokenOf makes a Vault token with a policy of the examples.
func (w *world) tokenOf(t *testing.T, policy string) string {
	t.Helper()
	name := "example-" + strings.TrimSuffix(policy, ".hcl")
	w.vault(t, "policy", "write", name, w.example(t, "policies/"+policy))
	return strings.TrimSpace(w.vault(t, "token", "create", "-policy="+name, "-field=token"))
}
