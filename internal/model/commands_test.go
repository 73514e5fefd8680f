// SPDX-License-Identifier: MPL-2.0

package model_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/model"
)

var (
	// spelledCommand matches a text that spells a command of Vault.
	spelledCommand = regexp.MustCompile(`\bvault (?:write|read|list|delete|lease|secrets)\b`)
	// example matches a command of a help text, which is for the mount modal/ and not for the mount of a request.
	example = regexp.MustCompile(`vault (?:write|read|list|delete)(?: -[-a-z=0-9]+)* modal/`)
)

func TestCommands_AreSpelledInOneFile(t *testing.T) {
	t.Parallel()
	root, err := os.OpenRoot("../..")
	require.NoError(t, err)
	t.Cleanup(func() { _ = root.Close() })
	files, err := fs.Glob(root.FS(), "*.go")
	require.NoError(t, err)
	for _, folder := range []string{"internal", "cmd"} {
		require.NoError(t, fs.WalkDir(root.FS(), folder, func(path string, _ fs.DirEntry, failed error) error {
			files = append(files, path)
			return failed
		}))
	}
	found := 0
	for _, path := range files {
		if filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			continue
		}
		source, err := root.ReadFile(path)
		require.NoError(t, err)
		for _, text := range texts(t, path, source) {
			if !strings.Contains(path, "/") {
				text = example.ReplaceAllString(text, "")
			}
			if !spelledCommand.MatchString(text) {
				continue
			}
			if found++; path != "internal/model/commands.go" {
				t.Errorf("%s spells a command itself, instead of taking it from model.Commands: %q", path, text)
			}
		}
	}
	require.NotZero(t, found, "the test finds no command, not even in commands.go")
}

// texts returns the string literals of a file.
func texts(t *testing.T, name string, source []byte) (all []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), name, source, parser.SkipObjectResolution)
	require.NoError(t, err)
	ast.Inspect(file, func(node ast.Node) bool {
		if literal, is := node.(*ast.BasicLit); is && literal.Kind == token.STRING {
			text, err := strconv.Unquote(literal.Value)
			require.NoError(t, err)
			all = append(all, text)
		}
		return true
	})
	return all
}

func TestCommands_SwitchOffTheNamespaceForAMountInANamespace(t *testing.T) {
	t.Parallel()
	for mount, want := range map[string][]string{
		"modal/":      {"vault write -f modal/rotate/ci", "vault delete modal/roles/ci force=true", "vault lease revoke -prefix modal/creds/ci"},
		"team/modal/": {"vault write -f -namespace='' team/modal/rotate/ci", "vault delete -namespace='' team/modal/roles/ci force=true", "vault lease revoke -prefix team/modal/creds/ci (in a namespace without the namespace's path)"},
	} {
		run := model.Commands{MountPath: mount}
		require.Equal(t, want, []string{run.Rotate("ci"), run.DeleteRole("ci"), run.RevokeLeases("ci")})
	}
}
