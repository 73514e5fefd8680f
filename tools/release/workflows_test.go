// SPDX-License-Identifier: MPL-2.0

package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The action that installs Go prevents Go from fetching another version (GOTOOLCHAIN=local). So the installed
// version must also build the tools.
func TestWorkflows_InstallTheNewestGoOfTheModulesVersion(t *testing.T) {
	t.Parallel()
	workflows, err := filepath.Glob("../../.github/workflows/*.yml")
	if err != nil || len(workflows) == 0 {
		t.Fatalf("there are no workflows: %v", err)
	}
	line := ""
	for _, workflow := range workflows {
		text := read(t, workflow)
		installed := regexp.MustCompile(`(?m)^ +go-version: "(\d+\.\d+)\.x"\n +check-latest: true$`).FindAllStringSubmatch(text, -1)
		if len(installed) != strings.Count(text, "actions/setup-go@") || strings.Contains(text, "go-version-file") {
			t.Errorf("%s installs an old Go", workflow)
		}
		for _, version := range installed {
			if line == "" {
				line = version[1]
			}
			if version[1] != line {
				t.Errorf("%s installs Go %s, another Go %s", workflow, version[1], line)
			}
		}
	}
	modules := []string{"../../go.mod"}
	for _, pattern := range []string{"../../*/*/go.mod", "../../tools/*/*/go.mod"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("there are no modules %s: %v", pattern, err)
		}
		modules = append(modules, found...)
	}
	for _, module := range modules {
		if !regexp.MustCompile(`(?m)^go ` + regexp.QuoteMeta(line) + `(\.\d+)?$`).MatchString(read(t, module)) {
			t.Errorf("%s needs another Go version than the workflows' %s", module, line)
		}
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
