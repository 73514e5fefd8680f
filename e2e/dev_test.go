// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"bytes"
	"context"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// dev is a running make dev.
type dev struct {
	ctx context.Context
	// block is the text to paste. page is the URL of the emulator's page.
	block string
	page  *url.URL

	cmd  *exec.Cmd
	temp string // make dev writes below this directory and into bin
	said func(t *testing.T) string
}

var (
	pasted      = regexp.MustCompile(`(?m)^export .*\n`)
	hint        = regexp.MustCompile(`(?m)^  (while vault .*)\n  (vault .*)\n`)
	emulatorsAt = regexp.MustCompile(`emulator's page: (\S+)`)
)

// startDev runs the command that the README starts with, in a process group of its own as a terminal does.
func startDev(t *testing.T, command string) *dev {
	t.Helper()
	d := &dev{ctx: testContext(t)}
	var err error
	d.temp, err = os.MkdirTemp("", "dev-") //nolint:usetesting // the test's own path is too long for the sockets in it
	require.NoError(t, err)
	log := filepath.Join(t.TempDir(), "log")
	file, err := os.Create(log)
	require.NoError(t, err)
	defer file.Close()
	d.said = func(t *testing.T) string {
		t.Helper()
		text, readErr := os.ReadFile(log)
		require.NoError(t, readErr)
		return string(text)
	}

	d.cmd = exec.CommandContext(d.ctx, "sh", "-c", "exec "+command)
	d.cmd.Dir, d.cmd.Stdout, d.cmd.Stderr = "..", file, file
	d.cmd.Env = append(os.Environ(), "VAULT_BIN="+tools.Vault, "TMPDIR="+d.temp)
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, d.cmd.Start())
	t.Cleanup(func() {
		_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGTERM) // usually gone already
		_ = d.cmd.Wait()
		require.NoError(t, os.RemoveAll(d.temp))
	})
	require.NoError(t, lab.Until(d.ctx, "make dev to print its block", func() error {
		if !strings.Contains(d.said(t), "Ctrl-C ends") {
			return errors.New(lab.Mask(d.said(t)))
		}
		return nil
	}))
	d.block = strings.Join(pasted.FindAllString(d.said(t), -1), "")
	page := emulatorsAt.FindStringSubmatch(d.said(t))
	require.Len(t, page, 2)
	d.page, err = url.Parse(page[1])
	require.NoError(t, err)
	return d
}

// variable returns a variable of the block.
func (d *dev) variable(t *testing.T, name string) string {
	t.Helper()
	value := regexp.MustCompile(`(?m) ` + name + `=(\S+)`).FindStringSubmatch(d.block)
	require.Len(t, value, 2, name)
	return value[1]
}

// interrupt sends a Ctrl-C and asserts that no process and no file remains.
func (d *dev) interrupt(t *testing.T) {
	t.Helper()
	require.NotEmpty(t, d.left(t), "a running make dev must be visible, or the check below proves nothing")
	require.NoError(t, syscall.Kill(-d.cmd.Process.Pid, syscall.SIGINT))
	err := d.cmd.Wait()
	state := d.cmd.ProcessState.Sys().(syscall.WaitStatus)
	clean := err == nil || state.ExitStatus() == 130 || state.Signaled() && state.Signal() == syscall.SIGINT
	require.True(t, clean, "%v: %s", err, lab.Mask(d.said(t)))
	require.NotContains(t, d.said(t), "goroutine ")
	_, after, _ := strings.Cut(d.said(t), "Ctrl-C ends")
	require.NotContains(t, after, "rror", "make dev ends with an error")
	require.Contains(t, after, "their data is deleted")
	require.Empty(t, d.left(t), "processes or files remain")
}

// left returns the files that make dev made and the processes that it started. On a system with /proc these
// are the processes whose environment names its temporary directory.
func (d *dev) left(t *testing.T) (all []string) {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(d.temp, "*"))
	require.NoError(t, err)
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	require.NoError(t, err)
	for _, environment := range environments {
		text, readErr := os.ReadFile(environment)
		if readErr == nil && bytes.Contains(text, []byte("="+d.temp)) {
			all = append(all, environment)
		}
	}
	return all
}

func TestMakeDev_StartsEmptyAndEndsCleanlyOnCtrlC(t *testing.T) {
	t.Parallel()
	d := startDev(t, "make dev")
	watch := hint.FindStringSubmatch(d.said(t))
	require.Len(t, watch, 3, "the two lines that show a rotation")
	shell := exec.CommandContext(d.ctx, "bash", "-euo", "pipefail", "-c", d.block+`
! vault read modal/config 2>/dev/null
! vault list modal/roles 2>/dev/null
vault secrets list | grep ^modal/
printf %s "$TOKEN_SECRET" | vault write modal/config server_url="$SERVER_URL" token_id="$TOKEN_ID" token_secret=- >/dev/null
vault write modal/roles/ci type=managed environment_roles=main=contributor >/dev/null
cd
(`+watch[1]+`) >seen &
until grep -q ak- seen; do sleep 1; done
`+watch[2]+` >/dev/null
until grep -qF "$(vault read -field=token_id modal/creds/ci)" seen; do sleep 1; done
kill "$!"`)
	shell.Env = readerEnv(t, t.TempDir())
	said, err := shell.CombinedOutput()
	require.NoError(t, err, lab.Mask(string(said)))
	d.interrupt(t)
}
