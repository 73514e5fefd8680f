// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab_test

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// progress runs tools/progress.sh with a clock that ticks every second.
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
	said, told, code := progress(t, []string{"TOTAL=3"}, "tests", "unit", "sh", "-c",
		`printf 'ok  \tone\n'; sleep 2; printf 'FAIL\ttwo\n'; echo broken >&2; exit 3`)
	require.Equal(t, 3, code)
	require.Equal(t, "ok  \tone\nFAIL\ttwo\nbroken\n", said)
	require.Regexp(t, `^unit: running sh -c `, told, "the first line must not wait for the first tick")
	require.Regexp(t, `(?m)^unit: 0m[12]s: 1 of 3 packages done$`, told)
}

func TestProgress_CountsTheMegabytesOfADownload(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	_, told, code := progress(t, nil, "download", "wheel", folder, "75", "sh", "-c", `head -c 3145728 /dev/zero >"$0/part"; sleep 2`, folder)
	require.Zero(t, code)
	require.Regexp(t, `(?m)^wheel: 3 of about 75 MB, [12]s$`, told)
}

func TestProgress_CountsPackagesOfABuildWithTheirTotal(t *testing.T) {
	t.Parallel()
	binary := t.TempDir() + "/program"
	_, told, code := progress(t, []string{"GOCACHE=" + t.TempDir()}, "build", "../..", binary, "./tools/openbao/none")
	require.NotZero(t, code, "a build that fails must not succeed")
	require.Contains(t, told, "directory not found")

	folder := t.TempDir()
	require.NoError(t, os.WriteFile(folder+"/go.mod", []byte("module small\n"), 0o600))
	require.NoError(t, os.WriteFile(folder+"/main.go", []byte("package main\n\nimport \"fmt\"\n\nfunc main() { fmt.Println(42) }\n"), 0o600))
	_, told, code = progress(t, []string{"GOCACHE=" + t.TempDir()}, "build", folder, binary, ".")
	require.Zero(t, code, told)
	require.Regexp(t, `(?m)^build \.: \d+ of \d\d packages compiled, \d+s$`, told)
	require.FileExists(t, binary)
}
