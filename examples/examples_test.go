// SPDX-License-Identifier: MPL-2.0

// Package examples contains configurations of programs that read Modal tokens from Vault. The tests of this package
// parse them. The tests of package e2e run them.
package examples

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl"
	"github.com/robfig/cron/v3"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// files returns the examples by path.
func files(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || strings.HasSuffix(path, "_test.go") || filepath.Base(path) == "README.md" {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	}))
	return all
}

func TestExamples_AreInTheLanguageOfTheirPrograms(t *testing.T) {
	t.Parallel()
	for path, text := range files(t) {
		switch filepath.Ext(path) {
		case ".hcl":
			var file map[string]any
			require.NoError(t, hcl.Decode(&file, text), path)
			require.NotEmpty(t, file, path)
		case ".yaml", ".yml":
			require.NotZero(t, documents(t, path, text))
		case ".cron":
			line := regexp.MustCompile(`(?m)^((?:\S+ ){5})root `).FindStringSubmatch(text)
			require.Len(t, line, 2, path)
			_, err := cron.ParseStandard(strings.TrimSpace(line[1]))
			require.NoError(t, err, path)
		}
	}
}

// documents counts the documents of a text in YAML.
func documents(t *testing.T, path, text string) int {
	t.Helper()
	decoder := yaml.NewDecoder(bytes.NewReader([]byte(text)))
	for count := 0; ; count++ {
		var object map[string]any
		err := decoder.Decode(&object)
		if errors.Is(err, io.EOF) {
			return count
		}
		require.NoError(t, err, path)
		require.NotEmpty(t, object, path)
	}
}

func TestExamples_ContainNoTokenAndUseOneMountAndFewRoles(t *testing.T) {
	t.Parallel()
	paths := regexp.MustCompile(`(?:modal/|path: )(?:creds|roles|rotate)/([a-z]+)`)
	for path, text := range files(t) {
		require.NotRegexp(t, `\b(?:ak|as|hv[sb])[-.][A-Za-z0-9]{4}`, text, path)
		for _, match := range paths.FindAllStringSubmatch(text, -1) {
			require.Contains(t, []string{"ci", "gpu", "job", "deploy", "personal"}, match[1], path)
		}
	}
}

// dependencies are the files that declare a program's dependencies.
var dependencies = map[string]bool{
	"go.mod": true, "go.sum": true, "requirements.txt": true, "package.json": true, "tsconfig.json": true,
}

func TestExamples_AreAllListedAndExplained(t *testing.T) {
	t.Parallel()
	listed, err := os.ReadFile("README.md")
	require.NoError(t, err)
	pages, err := filepath.Glob("../docs/how-to/*.md")
	require.NoError(t, err)
	explained := map[string]bool{}
	for _, page := range append(pages, "../docs/policies.md") {
		text, err := os.ReadFile(page)
		require.NoError(t, err)
		for _, link := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(string(text), -1) {
			if path, found := strings.CutPrefix(filepath.Join(filepath.Dir(page), link[1]), "../examples/"); found {
				explained[path] = true
			}
		}
	}
	for path := range files(t) {
		if dependencies[filepath.Base(path)] {
			continue
		}
		require.Contains(t, string(listed), "("+path+")", "README.md does not list it")
		require.True(t, explained[path], "no page of docs/how-to explains %s", path)
	}
}

// Somebody who opens a folder on a web page sees what its files are for, and how to use them.
// A job whose login role no page writes cannot log in.
func TestExamples_JobsLogInWithTheRoleThatTheirPageWrites(t *testing.T) {
	t.Parallel()
	role := regexp.MustCompile(`(?m)(?:^ *role: |"role": ")([a-z-]+)`)
	for path, name := range map[string]string{
		"github-actions.yml": "github-actions.md", "github-actions-lease.yml": "github-actions.md", "gitlab-ci-lease.yml": "gitlab-ci.md",
	} {
		page, err := os.ReadFile(filepath.Join("..", "docs", "how-to", name))
		require.NoError(t, err)
		found := role.FindStringSubmatch(files(t)[path])
		require.Len(t, found, 2, path)
		require.Contains(t, string(page), "vault write auth/jwt/role/"+found[1]+" ", path)
	}
}

func TestExamples_EachFolderHasAReadmeThatNamesItsFiles(t *testing.T) {
	t.Parallel()
	for path := range files(t) {
		if filepath.Dir(path) == "." || dependencies[filepath.Base(path)] {
			continue
		}
		text, err := os.ReadFile(filepath.Join(filepath.Dir(path), "README.md"))
		require.NoError(t, err)
		require.Contains(t, string(text), "("+filepath.Base(path)+")", path)
	}
}

func TestExamples_SystemdAcceptsTheUnits(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("systemd-analyze is not on the PATH: the units were not verified")
	}
	folder := t.TempDir()
	script, err := filepath.Abs("rotation/modal-rotate")
	require.NoError(t, err)
	var units []string
	for _, name := range []string{"rotation/modal-rotate.service", "rotation/modal-rotate.timer", "modal-agent.service"} {
		unit := filepath.Join(folder, filepath.Base(name))
		// systemd also looks for the programs that a unit starts.
		text := strings.NewReplacer("/usr/local/bin/modal-rotate", script, "/usr/bin/vault", script).Replace(files(t)[name])
		require.NotEmpty(t, text, name)
		require.NoError(t, os.WriteFile(unit, []byte(text), 0o600))
		units = append(units, unit)
	}
	said, err := exec.CommandContext(t.Context(), analyze, append([]string{"verify", "--man=no"}, units...)...).CombinedOutput()
	require.NoError(t, err, string(said))
	require.NotRegexp(t, "modal-(rotate|agent)", string(said), "systemd ignores a line that it does not know, and says so")
}
