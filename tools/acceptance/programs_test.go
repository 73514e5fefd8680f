// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// programs is the folder of the programs that the tests build. It is empty until a test needs a program.
var programs string

// buildPrograms builds this command and the emulator once for all tests. Without cgo both share their compiled packages
// with the other builds of the project.
var buildPrograms = sync.OnceValue(func() error {
	var err error
	if programs, err = os.MkdirTemp("", "acceptance"); err != nil {
		return err
	}
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", programs+"/", ".", "../../cmd/modal-emulator")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", build, err, said)
	}
	return nil
})

// program returns the path of a built program.
func program(t *testing.T, name string) string {
	t.Helper()
	require.NoError(t, buildPrograms())
	return filepath.Join(programs, name)
}

func TestMain(m *testing.M) {
	code := m.Run()
	if programs != "" {
		_ = os.RemoveAll(programs)
	}
	os.Exit(code)
}
