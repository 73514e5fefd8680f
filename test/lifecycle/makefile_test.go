// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// testPattern matches a pattern that the Makefile passes to go test.
var testPattern = regexp.MustCompile(`-run '([^']+)'`)

// testName matches the declaration of a test.
var testName = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)

func TestMakefile_EveryTestPatternMatchesATest(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile(filepath.Join(module, "Makefile"))
	require.NoError(t, err)
	names := declaredTests(t)
	checked := 0
	for _, match := range testPattern.FindAllStringSubmatch(string(makefile), -1) {
		if strings.HasPrefix(match[1], "$(") || match[1] == "^$$" { // chosen by the caller, or no test at all
			continue
		}
		for part := range strings.SplitSeq(strings.ReplaceAll(match[1], "$$", "$"), "|") {
			pattern, err := regexp.Compile("(?m)" + part)
			require.NoError(t, err)
			require.True(t, pattern.MatchString(names), "no test matches -run %s", part)
			checked++
		}
	}
	require.Greater(t, checked, 5)
}

// declaredTests returns the names of all tests of the module, one per line.
func declaredTests(t *testing.T) string {
	t.Helper()
	var names []string
	require.NoError(t, filepath.WalkDir(module, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, match := range testName.FindAllStringSubmatch(string(text), -1) {
			names = append(names, match[1])
		}
		return err
	}))
	return "\n" + strings.Join(names, "\n") + "\n"
}
