// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
)

// Languages lists the languages of the example programs.
var Languages = []string{"go", "python", "typescript"}

// installing keeps two tests from installing the same program at the same time.
var installing sync.Mutex

// ExampleProgram builds or installs the example program of a language and returns the command that runs it.
func (t *Tools) ExampleProgram(ctx context.Context, language string) ([]string, error) {
	installing.Lock()
	defer installing.Unlock()
	folder := filepath.Join(t.root, "examples", language)
	switch language {
	case "go":
		file := filepath.Join(t.dir, "example-go")
		_, err := t.output(ctx, "go", "build", "-C", folder, "-buildvcs=false", "-o", file, ".")
		return []string{file}, err
	case "python":
		interpreter, err := t.output(ctx, filepath.Join(t.root, "e2e", "clients", "install.sh"), "example-python")
		return []string{interpreter, filepath.Join(folder, "main.py")}, err
	case "typescript":
		file, err := t.output(ctx, filepath.Join(t.root, "e2e", "clients", "install.sh"), "example-typescript")
		return []string{"node", file}, err
	}
	return nil, fmt.Errorf("no example program is written in %s", language)
}

// ExternalSecrets builds the program that refreshes a Secret as External Secrets Operator does, and returns the
// program's path. The first build on a machine takes minutes.
func (t *Tools) ExternalSecrets(ctx context.Context) (string, error) {
	installing.Lock()
	defer installing.Unlock()
	file := filepath.Join(t.dir, "eso")
	if _, err := os.Stat(file); err == nil {
		return file, nil
	}
	folder := filepath.Join(t.root, "tools", "eso")
	_, err := t.output(ctx, filepath.Join(t.root, "tools", "progress.sh"), "build", folder, file, module+"/tools/eso", "-buildvcs=false")
	return file, err
}
