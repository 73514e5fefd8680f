// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// Result is a command's output and exit code.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Err returns an error with the masked output of a failed command, and nil if the command exited with 0.
func (r Result) Err() error {
	if r.Code == 0 {
		return nil
	}
	return fmt.Errorf("exit code %d: %s", r.Code, Mask(strings.TrimSpace(r.Stderr+r.Stdout)))
}

// CLI is the vault command with a server's address and a token in its environment.
type CLI struct {
	bin string
	env []string
}

// newCLI returns the vault command for the server at addr. It retries nothing, so that tests see every
// failure.
func (l *Lab) newCLI(addr string) CLI {
	return CLI{bin: l.tools.Vault, env: l.env("VAULT_ADDR="+addr, "VAULT_CLI_NO_COLOR=1", "VAULT_MAX_RETRIES=0")}
}

// As returns the same command with another token.
func (c CLI) As(token string) CLI {
	c.env = append(c.env[:len(c.env):len(c.env)], "VAULT_TOKEN="+token)
	return c
}

// In returns the same command with a namespace in its environment.
func (c CLI) In(namespace string) CLI {
	c.env = append(c.env[:len(c.env):len(c.env)], "VAULT_NAMESPACE="+namespace)
	return c
}

// Run runs the command to its end. An exit code other than 0 is a result and not an error. An error means
// that the command could not start or was interrupted.
func (c CLI) Run(ctx context.Context, stdin string, args ...string) (Result, error) {
	return run(ctx, c.env, stdin, c.bin, args...)
}

// run runs any program as CLI.Run does.
func run(ctx context.Context, env []string, stdin, bin string, args ...string) (Result, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	cmd := command(ctx, env, bin, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return Result{}, fmt.Errorf("running %s: %w", bin, context.Cause(ctx))
	case err != nil && !errors.As(err, &exit):
		return Result{}, fmt.Errorf("running %s: %w", bin, err)
	}
	return Result{Stdout: stdout.String(), Stderr: stderr.String(), Code: cmd.ProcessState.ExitCode()}, nil
}
