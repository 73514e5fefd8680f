// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// plantedFaults returns the files of testdata/mutations. Each file is a planted fault: a small change of the
// code that some test must catch. It holds hunks separated by a line "@@". A hunk is written like a diff, and
// it names no file: its unchanged and removed lines stand together in exactly one source file.
func plantedFaults(t *testing.T) []string {
	t.Helper()
	faults, err := filepath.Glob("testdata/mutations/*.fault")
	require.NoError(t, err)
	require.NotEmpty(t, faults)
	return faults
}

// module is the path of the module's root.
const module = "../.."

// plantFault returns the changed source files of the module in dir, by path. It writes nothing.
func plantFault(fault, dir string) (changed map[string][]string, err error) {
	text, err := os.ReadFile(fault)
	if err != nil {
		return nil, err
	}
	sources, err := sourceLines(dir)
	if err != nil {
		return nil, err
	}
	changed = map[string][]string{}
	for hunk := range strings.SplitSeq(strings.TrimRight(string(text), "\n"), "\n@@\n") {
		if err := plantHunk(strings.Split(hunk, "\n"), sources, changed); err != nil {
			return nil, fmt.Errorf("%s: %w", fault, err)
		}
	}
	return changed, nil
}

// sourceLines reads the lines of all Go files of the module's root and of internal, tests excepted.
func sourceLines(dir string) (map[string][]string, error) {
	sources := map[string][]string{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		relative, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			top, _, _ := strings.Cut(relative, string(filepath.Separator))
			if top != "." && top != "internal" {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(path)
		sources[relative] = strings.Split(string(text), "\n")
		return err
	})
	return sources, err
}

func plantHunk(hunk []string, sources, changed map[string][]string) error {
	var before, after []string
	for _, line := range hunk {
		text, added := strings.CutPrefix(line, "+")
		text, removed := strings.CutPrefix(text, "-")
		if !added {
			before = append(before, text)
		}
		if !removed || added {
			after = append(after, text)
		}
	}
	var file string
	var at, found int
	for path, lines := range sources {
		for i := range max(0, len(lines)-len(before)+1) {
			if slices.EqualFunc(lines[i:i+len(before)], before, sameLine) {
				file, at = path, i
				found++
			}
		}
	}
	if found != 1 {
		return fmt.Errorf("the code contains these lines %d times, but must contain them exactly once:\n%s", found, strings.Join(before, "\n"))
	}
	sources[file] = slices.Concat(sources[file][:at], after, sources[file][at+len(before):])
	changed[file] = sources[file]
	return nil
}

// sameLine ignores indentation, so that code may move into another block.
func sameLine(a, b string) bool { return strings.TrimSpace(a) == strings.TrimSpace(b) }

func TestPlantedFaults_FitTheCode(t *testing.T) {
	t.Parallel()
	for _, fault := range plantedFaults(t) {
		if _, err := plantFault(fault, module); err != nil {
			t.Errorf("the planted fault does not fit the code any more, write it again: %v", err)
		}
	}
}
