// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"

	"vault-plugin-secrets-modal/e2e/lab"
)

// run prints and runs a vault command. A command that fails is an error.
func (d *demo) run(ctx context.Context, stdin string, args ...string) error {
	_, err := d.show(ctx, stdin, args...)
	return err
}

// field runs a command as run does and returns the value that the command printed.
func (d *demo) field(ctx context.Context, args ...string) (string, error) {
	result, err := d.show(ctx, "", args...)
	return strings.TrimSpace(result.Stdout), err
}

func (d *demo) show(ctx context.Context, stdin string, args ...string) (lab.Result, error) {
	d.command(stdin, append([]string{"vault"}, args...)...)
	result, err := d.vault.Run(ctx, stdin, args...)
	if err = errors.Join(err, result.Err()); err != nil {
		return result, err
	}
	return result, d.output(ctx, result.Stdout+result.Stderr)
}

// cat prints a file.
func (d *demo) cat(ctx context.Context, file string) error {
	d.command("", "cat", file)
	text, err := os.ReadFile(file)
	return errors.Join(err, d.output(ctx, string(text)))
}

// authenticate shows that Modal accepts the token in a .modal.toml.
func (d *demo) authenticate(ctx context.Context, file string) error {
	result, err := d.sdk(ctx, file)
	if err = errors.Join(err, result.Err()); err != nil {
		return err
	}
	d.note("Modal's Go SDK authenticated with this file alone, and sees these environments")
	return nil
}

// rejected shows that Modal rejects the token in a .modal.toml. The ID is the old token's.
func (d *demo) rejected(ctx context.Context, file, id string) error {
	result, err := d.sdk(ctx, file)
	switch {
	case err != nil:
		return err
	case result.Code == 0:
		return fmt.Errorf("Modal still accepts the old token %s", id)
	case !strings.Contains(result.Stderr, "Unauthenticated"):
		return result.Err()
	}
	d.note("Modal rejects the old token %s", id)
	return nil
}

func (d *demo) sdk(ctx context.Context, file string) (lab.Result, error) {
	d.command("", "MODAL_CONFIG_PATH="+file, "go", "run", "./e2e/sdk")
	result, err := d.lab.SDK(ctx, file)
	return result, errors.Join(err, d.output(ctx, result.Stdout+result.Stderr))
}
