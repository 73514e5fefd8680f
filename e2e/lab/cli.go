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

// Result is what a command printed and its exit code.
type Result struct {
	Stdout, Stderr string
	Code           int
}

// Err is an error that tells what a failed command said, masked, and nil for one that exited 0.
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

// newCLI is the command for the server at addr. It tries nothing twice: what fails is to be seen.
func (l *Lab) newCLI(addr string) CLI {
	return CLI{bin: l.tools.Vault, env: l.env("VAULT_ADDR="+addr, "VAULT_CLI_NO_COLOR=1", "VAULT_MAX_RETRIES=0")}
}

// As is the same command with another token.
func (c CLI) As(token string) CLI {
	c.env = append(c.env[:len(c.env):len(c.env)], "VAULT_TOKEN="+token)
	return c
}

// In is the same command with a namespace in its environment.
func (c CLI) In(namespace string) CLI {
	c.env = append(c.env[:len(c.env):len(c.env)], "VAULT_NAMESPACE="+namespace)
	return c
}

// Run runs the command to its end. An exit code other than 0 is no error here, but a result; an
// error means that the command could not be run or was interrupted.
func (c CLI) Run(ctx context.Context, stdin string, args ...string) (Result, error) {
	return run(ctx, c.env, stdin, c.bin, args...)
}

// run runs any program like CLI.Run.
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
