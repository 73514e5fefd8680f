// SPDX-License-Identifier: MPL-2.0

//go:build mutations

package lifecycle

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// caughtAfter matches the report of a failed run.
var caughtAfter = regexp.MustCompile(`(?s)run (\d+) fails.*?BROKEN: ([^\n]*)`)

// failedTest matches the name of a failed test.
var failedTest = regexp.MustCompile(`(?m)^--- FAIL: (\w+)`)

// TestPlantedFaults_AreAllCaught plants each fault of testdata/mutations into a copy of the module, one after the
// other, and runs the simulation as CI does. If the simulation does not catch the fault, another test must.
func TestPlantedFaults_AreAllCaught(t *testing.T) {
	t.Parallel()
	table := []string{fmt.Sprintf("%-40s %6s %6s  %s", "planted fault", "runs", "s", "message of the simulation")}
	for _, fault := range plantedFaults(t) {
		name := strings.TrimSuffix(filepath.Base(fault), ".fault")
		if only := os.Getenv("MUTATION"); only != "" && only != name {
			continue
		}
		began := time.Now()
		dir := planted(t, fault)
		output := runTests(t, dir, "-run", "^TestLives$", "-v", "./test/lifecycle")
		took := time.Since(began).Seconds()
		found := caughtAfter.FindStringSubmatch(output)
		switch {
		case found != nil:
			table = append(table, fmt.Sprintf("%-40s %6s %6.0f  %.150s", name, found[1], took, found[2]))
		case strings.Contains(output, "a run hangs"):
			table = append(table, fmt.Sprintf("%-40s %6s %6.0f  a run hangs", name, "?", took))
		default:
			// The copy has no documents, which TestAPIDocument reads.
			output = runTests(t, dir, "-failfast", "-skip", "^Test(Makefile|PlantedFaults|APIDocument)_", ".", "./internal/state", "./internal/engine", "./test/lifecycle")
			took = time.Since(began).Seconds()
			failed := failedTest.FindStringSubmatch(output)
			if failed == nil {
				failed = []string{"", "NOT CAUGHT"}
				t.Errorf("no test catches %s:\n%.2000s", name, output)
			}
			table = append(table, fmt.Sprintf("%-40s %6s %6.0f  %s", name, "-", took, failed[1]))
		}
		fmt.Println(table[len(table)-1])
	}
	fmt.Println(strings.Join(table, "\n"))
}

// planted plants one fault into a copy of the module and returns the folder of the copy.
func planted(t *testing.T, fault string) string {
	t.Helper()
	dir := t.TempDir()
	copyGo(t, dir)
	changed, err := plantFault(fault, module)
	require.NoError(t, err, "the planted fault does not fit the code any more: write it again")
	for path, lines := range changed {
		require.NoError(t, os.WriteFile(filepath.Join(dir, path), []byte(strings.Join(lines, "\n")), 0o644))
	}
	return dir
}

// runTests runs go test in a folder and returns its output.
func runTests(t *testing.T, dir string, arguments ...string) string {
	t.Helper()
	run := exec.CommandContext(t.Context(), "go", append([]string{"test", "-trimpath", "-count=1"}, arguments...)...) // -trimpath lets all copies share compiled packages
	run.Dir = dir
	run.Env = append(os.Environ(), "SIM_SHRINK=0s") // the first broken promise is enough
	output, _ := run.CombinedOutput()               // the test should fail
	require.NotContains(t, string(output), "[build failed]", "the planted fault does not compile:\n%s", output)
	return string(output)
}

// copyGo copies the files that the tests of the root package, internal and test need.
func copyGo(t *testing.T, to string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(module, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(module, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if top, _, _ := strings.Cut(relative, string(filepath.Separator)); top != "." && top != "internal" && top != "test" {
				return filepath.SkipDir
			}
			return os.MkdirAll(filepath.Join(to, relative), 0o755)
		}
		if filepath.Dir(relative) == "." && !strings.HasSuffix(path, ".go") && entry.Name() != "go.mod" && entry.Name() != "go.sum" && entry.Name() != "Makefile" {
			return nil
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, relative), content, 0o644)
	}))
}
