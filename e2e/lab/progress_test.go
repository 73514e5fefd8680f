// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab_test

import (
	"bufio"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// progress runs tools/progress.sh with a clock that ticks every second. SECOND shortens the second.
func progress(t *testing.T, env []string, args ...string) (said, told string, code int) {
	t.Helper()
	var stdout, stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), "../../tools/progress.sh", args...)
	cmd.Env = append(append(os.Environ(), "EVERY=1"), env...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return stdout.String(), stderr.String(), cmd.ProcessState.ExitCode()
}

func TestProgress_CountsPackagesOfTestsAndKeepsTheExitCode(t *testing.T) {
	t.Parallel()
	said, told, code := progress(t, []string{"PACKAGES=../../bench/..."}, "tests", "unit", "sh", "-c",
		`printf 'ok  \tone\n'; sleep 2; printf 'FAIL\ttwo\n'; echo broken >&2; exit 3`)
	require.Equal(t, 3, code)
	require.Equal(t, "ok  \tone\nFAIL\ttwo\nbroken\n", said)
	require.Regexp(t, `^unit: running sh -c `, told, "the first line must not wait for the first tick")
	require.Regexp(t, `(?m)^unit: 0m\d+s: 1 of [2-9] packages done$`, told)
}

func TestProgress_CtrlCEndsTheClockToo(t *testing.T) {
	t.Parallel()
	// exec: the shell forgets a signal between its fork and the exec of the child.
	cmd := exec.CommandContext(t.Context(), "../../tools/progress.sh", "tests", "unit", "sh", "-c", "echo started; exec sleep 60")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "started\n", line)
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
	require.Error(t, cmd.Wait())
	require.NoError(t, lab.UntilWithin(t.Context(), 10*time.Second, "the process group to end", func() error {
		if left := running(t, cmd.Process.Pid); left != "" {
			return errors.New(left)
		}
		return nil
	}))
}

// running lists the programs of a process group that have not ended.
func running(t *testing.T, group int) string {
	t.Helper()
	all, err := exec.CommandContext(t.Context(), "ps", "-A", "-o", "pgid=,stat=,args=").Output()
	require.NoError(t, err)
	var left []string
	for line := range strings.Lines(string(all)) {
		fields := strings.Fields(line)
		if fields[0] == strconv.Itoa(group) && !strings.HasPrefix(fields[1], "Z") {
			left = append(left, line)
		}
	}
	return strings.Join(left, "")
}

func TestProgress_CountsTheMegabytesOfADownload(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	_, told, code := progress(t, nil, "download", "wheel", folder, "75", "sh", "-c", `head -c 3145728 /dev/zero >"$0/part"; sleep 2`, folder)
	require.Zero(t, code)
	require.Regexp(t, `(?m)^wheel: 3 of about 75 MB, \d+s$`, told)
}

func TestProgress_CountsPackagesOfABuildWithTheirTotal(t *testing.T) {
	t.Parallel()
	binary := t.TempDir() + "/program"
	_, told, code := progress(t, nil, "build", "../..", binary, "./tools/openbao/none")
	require.NotZero(t, code, "a build that fails must not succeed")
	require.Contains(t, told, "directory not found")

	// The text of these packages is new, so that the build cache contains none of them.
	folder := t.TempDir()
	var imports strings.Builder
	write(t, folder+"/go.mod", "module small\n")
	for i := range 10 {
		name := fmt.Sprintf("small/part%d", i)
		write(t, fmt.Sprintf("%s/part%d/part.go", folder, i), fmt.Sprintf("package part\n\nconst Text = %q\n", rand.Text()))
		fmt.Fprintf(&imports, "import _ %q\n", name)
	}
	write(t, folder+"/main.go", "package main\n\n"+imports.String()+"\nfunc main() {}\n")
	_, told, code = progress(t, []string{"SECOND=0.1", "CGO_ENABLED=0"}, "build", folder, binary, ".")
	require.Zero(t, code, told)
	require.Regexp(t, `(?m)^build \.: \d+ of 11 packages compiled, \d+s$`, told)
	require.FileExists(t, binary)
}
