// SPDX-License-Identifier: MPL-2.0

package docs

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMakeHelp_ShowsTheWholeLineOfEveryTarget(t *testing.T) {
	t.Parallel()
	makefile, err := os.ReadFile("Makefile")
	require.NoError(t, err)
	if _, err = exec.LookPath("make"); err != nil {
		t.Skip("make is not installed")
	}
	help, err := exec.CommandContext(t.Context(), "make", "help").Output()
	require.NoError(t, err)

	phony := regexp.MustCompile(`(?m)^\.PHONY: ((?:.*\\\n)*.*)$`).FindStringSubmatch(string(makefile))
	require.Len(t, phony, 2)
	for _, target := range strings.Fields(strings.ReplaceAll(phony[1], "\\\n", " ")) {
		if target == "help" {
			continue
		}
		comment := regexp.MustCompile(`(?m)^## ` + regexp.QuoteMeta(target) + `: (.*)$`).FindStringSubmatch(string(makefile))
		require.Len(t, comment, 2, "the target %s needs a line of help above it", target)
		require.Regexp(t, `(?m)^  `+regexp.QuoteMeta(target)+` +`+regexp.QuoteMeta(comment[1])+`$`, string(help))
	}
}
