// SPDX-License-Identifier: MPL-2.0

// Command sdk is a program as a user of Modal would write it. It uses Modal's Go SDK, which takes the token
// from the file that MODAL_CONFIG_PATH names, and prints the environments that it sees.
package main

import (
	"context"
	"fmt"
	"os"

	modal "github.com/modal-labs/modal-client/go"
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	client, err := modal.NewClient()
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	defer client.Close()
	environments, err := client.Environments.Objects.List(ctx)
	if err != nil {
		return fmt.Errorf("listing environments: %w", err)
	}
	for environment, err := range environments {
		if err != nil {
			return fmt.Errorf("listing environments: %w", err)
		}
		fmt.Println(environment.Name)
	}
	return nil
}
