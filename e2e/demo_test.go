// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// demo returns make demo, which writes its output to a file as into a pipe, and to a directory of its own.
func demo(ctx context.Context, t *testing.T) (cmd *exec.Cmd, temp string, said func() string) {
	t.Helper()
	temp, err := os.MkdirTemp("", "demo-") // the test's own path is too long for the sockets in it
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(temp)) })
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, log.Close()) })
	cmd = exec.CommandContext(ctx, "make", "--no-print-directory", "demo")
	cmd.Dir, cmd.Stdout, cmd.Stderr = "..", log, log
	cmd.Env = append(os.Environ(), "VAULT_BIN="+tools.Vault, "TMPDIR="+temp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd, temp, func() string {
		text, readErr := os.ReadFile(log.Name())
		require.NoError(t, readErr)
		return string(text)
	}
}

func TestDemo_EndsWithASummaryAndShowsNoSecret(t *testing.T) {
	t.Parallel()
	cmd, temp, said := demo(testContext(t), t)
	err := cmd.Run()
	text := said()
	require.Equal(t, lab.Mask(text), text, "the demo shows a secret")
	require.NoError(t, err, text)
	require.NotContains(t, text, "\x1b", "a pipe gets no colours")
	require.NotContains(t, text, "\r", "a pipe gets no line that changes in place")
	require.Contains(t, text, "# waiting for the role ci to rotate on schedule: ")
	_, summary, _ := strings.Cut(text, "\nWhat you saw\n")
	seen, next, found := strings.Cut(summary, "\nWhat to try next\n")
	require.True(t, found, summary)
	require.Equal(t, 8, strings.Count(seen, "\n"), seen)
	require.Equal(t, 3, strings.Count(next, "\n"), next)
	left, err := filepath.Glob(filepath.Join(temp, "*"))
	require.NoError(t, err)
	require.Empty(t, left, "files remain")
}

func TestDemo_CtrlCLeavesNothing(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	cmd, temp, said := demo(ctx, t)
	require.NoError(t, cmd.Start())
	require.NoError(t, lab.Until(ctx, "the demo to read a token", func() error {
		if !strings.Contains(said(), "$ vault read modal/creds/personal") {
			return errors.New(lab.Mask(said()))
		}
		return nil
	}))
	d := &dev{temp: temp}
	require.NotEmpty(t, d.left(t), "a running demo must be visible, or the check below proves nothing")
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
	require.Error(t, cmd.Wait())
	require.Contains(t, said(), "demo: interrupted\n")
	require.NotContains(t, said(), "goroutine ")
	require.Empty(t, d.left(t), "processes or files remain")
}
