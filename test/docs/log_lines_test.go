// SPDX-License-Identifier: MPL-2.0

package docs

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// notInVaultsLog are packages below internal that only tests use.
var notInVaultsLog = []string{"internal/modaltest", "internal/mounttest", "internal/sim"}

// logLineRow is a row of the table of log lines: the level, then one message.
var logLineRow = regexp.MustCompile("(?m)^\\| (info|warn|error) \\| `([^`]+)` \\|")

func TestDocs_LogLineTableHasEveryMessageOfTheCode(t *testing.T) {
	t.Parallel()
	_, section, found := strings.Cut(pageText(t, "docs/operations.md"), "\n## Log lines\n")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	var documented []string
	for _, row := range logLineRow.FindAllStringSubmatch(section, -1) {
		documented = append(documented, row[1]+": "+row[2])
	}
	logged := loggedMessages(t)
	require.Greater(t, len(logged), 40)
	for _, message := range logged {
		if !slices.Contains(documented, message) {
			t.Errorf("the table of log lines in docs/operations.md lacks a row for %q", message)
		}
	}
	for _, message := range documented {
		if !slices.Contains(logged, message) {
			t.Errorf("docs/operations.md explains %q, which the code does not log", message)
		}
	}
	require.Len(t, slices.Compact(slices.Sorted(slices.Values(documented))), len(documented), "a message has two rows")
}

// loggedMessages returns "level: message" for each call of Info, Warn and Error that writes to Vault's log.
func loggedMessages(t *testing.T) (all []string) {
	t.Helper()
	folders, err := filepath.Glob("internal/*")
	require.NoError(t, err)
	folders = slices.DeleteFunc(folders, func(folder string) bool { return slices.Contains(notInVaultsLog, folder) })
	for _, folder := range append(folders, ".", "cmd/vault-plugin-secrets-modal") {
		p := parsePackage(t, folder)
		for _, f := range p.functions {
			ast.Inspect(f.Body, func(node ast.Node) bool {
				call, isCall := node.(*ast.CallExpr)
				if !isCall || len(call.Args) == 0 {
					return true
				}
				method, isMethod := call.Fun.(*ast.SelectorExpr)
				if !isMethod || !slices.Contains([]string{"Info", "Warn", "Error"}, method.Sel.Name) {
					return true
				}
				texts := p.texts(f, call.Args[0])
				require.NotEmpty(t, texts, "%s: the message is neither a literal, nor a variable or parameter that is given literals",
					p.files.Position(call.Pos()))
				for _, text := range texts {
					all = append(all, strings.ToLower(method.Sel.Name)+": "+text)
				}
				return true
			})
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// parsedPackage is the source of a package without its tests.
type parsedPackage struct {
	files     *token.FileSet
	functions []*ast.FuncDecl
}

func parsePackage(t *testing.T, folder string) *parsedPackage {
	t.Helper()
	p := &parsedPackage{files: token.NewFileSet()}
	names, err := filepath.Glob(filepath.Join(folder, "*.go"))
	require.NoError(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(p.files, name, nil, parser.SkipObjectResolution)
		require.NoError(t, err)
		for _, declaration := range file.Decls {
			if f, isFunction := declaration.(*ast.FuncDecl); isFunction && f.Body != nil {
				p.functions = append(p.functions, f)
			}
		}
	}
	return p
}

// texts returns what a message in function f may be: the literal, or the literals that a variable of f or the callers of
// f give it.
func (p *parsedPackage) texts(f *ast.FuncDecl, message ast.Expr) (all []string) {
	if literal, isLiteral := message.(*ast.BasicLit); isLiteral && literal.Kind == token.STRING {
		text, err := strconv.Unquote(literal.Value)
		if err != nil {
			return nil
		}
		return []string{text}
	}
	name, isName := message.(*ast.Ident)
	if !isName {
		return nil
	}
	if at := parameterIndex(f, name.Name); at >= 0 {
		return p.textsFromCallers(f, at)
	}
	ast.Inspect(f.Body, func(node ast.Node) bool {
		assign, isAssign := node.(*ast.AssignStmt)
		if !isAssign || len(assign.Lhs) != len(assign.Rhs) {
			return true
		}
		for i, left := range assign.Lhs {
			if variable, isVariable := left.(*ast.Ident); isVariable && variable.Name == name.Name {
				all = append(all, p.texts(f, assign.Rhs[i])...)
			}
		}
		return true
	})
	return all
}

func (p *parsedPackage) textsFromCallers(f *ast.FuncDecl, at int) (all []string) {
	for _, caller := range p.functions {
		ast.Inspect(caller.Body, func(node ast.Node) bool {
			if call, isCall := node.(*ast.CallExpr); isCall && calledName(call) == f.Name.Name && at < len(call.Args) {
				all = append(all, p.texts(caller, call.Args[at])...)
			}
			return true
		})
	}
	return all
}

func calledName(call *ast.CallExpr) string {
	switch called := call.Fun.(type) {
	case *ast.Ident:
		return called.Name
	case *ast.SelectorExpr:
		return called.Sel.Name
	default:
		return ""
	}
}

// parameterIndex returns which parameter of f has the name, -1 if none has.
func parameterIndex(f *ast.FuncDecl, name string) int {
	at := 0
	for _, field := range f.Type.Params.List {
		for _, parameter := range field.Names {
			if parameter.Name == name {
				return at
			}
			at++
		}
		if len(field.Names) == 0 {
			at++
		}
	}
	return -1
}
