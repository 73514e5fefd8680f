// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestAcceptance_CleansUpWhenItIsStoppedOnTheWay(t *testing.T) {
	t.Parallel()
	server := modaltest.Start(t)
	environ := owned(t, server)
	ctx, stop := context.WithCancel(t.Context())
	server.Inject("EnvironmentRoleSet", modaltest.Fault{Delay: time.Nanosecond, Match: func(modaltest.Call) bool { stop(); return true }})
	err := run(ctx, of(environ), short, strings.NewReader(""), io.Discard, io.Discard)
	require.ErrorContains(t, err, "stopped before the report was complete")
	require.NotEmpty(t, server.Calls("ServiceUserCreate"))
	require.Empty(t, server.Orphans(nil))
}

func TestAcceptance_StopDuringACreationDeletesTheServiceUser(t *testing.T) {
	t.Parallel()
	server := modaltest.Start(t)
	environ := owned(t, server)
	ctx, stop := context.WithCancel(t.Context())
	server.Inject("ServiceUserCreate", modaltest.Fault{Delay: 300 * time.Millisecond, Match: func(modaltest.Call) bool { stop(); return true }})
	err := run(ctx, of(environ), short, strings.NewReader(""), io.Discard, io.Discard)
	require.ErrorContains(t, err, "stopped before the report was complete")
	require.Len(t, server.Calls("ServiceUserCreate"), 1)
	require.Len(t, server.Calls("ServiceUserDelete"), 1)
	require.Empty(t, server.Orphans(nil))
}

func TestAcceptance_CleansUpWithoutTerminalOrReader(t *testing.T) {
	t.Parallel()
	for name, goes := range map[string]func(*os.Process, io.Closer) error{
		"terminal": func(p *os.Process, _ io.Closer) error { return p.Signal(syscall.SIGHUP) },
		"reader":   func(_ *os.Process, pipe io.Closer) error { return pipe.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := startEmulator(t)
			process := exec.CommandContext(t.Context(), program(t, "acceptance"))
			process.Env = []string{"ACCEPTANCE_BROWSER=no"}
			for key, value := range e.environ(t, "operator") {
				process.Env = append(process.Env, key+"="+value)
			}
			progress, err := process.StderrPipe()
			require.NoError(t, err)
			require.NoError(t, process.Start())
			lines := bufio.NewScanner(progress)
			for lines.Scan() && !strings.Contains(lines.Text(), "new-token") {
				continue
			}
			require.NotEmpty(t, e.serviceUsers(t))
			require.NoError(t, goes(process.Process, progress))
			var exit *exec.ExitError
			require.ErrorAs(t, process.Wait(), &exit)
			require.Equal(t, 1, exit.ExitCode(), "it was killed")
			require.Empty(t, e.serviceUsers(t))
		})
	}
}

func TestAcceptance_StopAtTheQuestionCreatesNothing(t *testing.T) {
	t.Parallel()
	server := modaltest.Start(t)
	environ := owned(t, server)
	delete(environ, "ACCEPTANCE")
	ctx, stop := context.WithCancel(t.Context())
	nobody, hand := io.Pipe()
	t.Cleanup(func() { require.NoError(t, hand.Close()) })
	progress, said := io.Pipe()
	go func() {
		lines := bufio.NewScanner(progress)
		for lines.Scan() {
			if strings.HasPrefix(lines.Text(), "Continue?") {
				stop()
			}
		}
	}()
	err := run(ctx, of(environ), short, nobody, io.Discard, said)
	require.NoError(t, said.Close())
	require.EqualError(t, err, "the run created nothing, because the answer was not yes")
	require.Empty(t, server.Calls("ServiceUserCreate"))
}
