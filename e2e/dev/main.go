// SPDX-License-Identifier: MPL-2.0

//go:build unix

// Command dev starts what a reader of the README needs next and keeps it running until Ctrl-C: a Vault server
// with the plugin at modal/, without configuration, and an emulator of Modal's control plane. It prints the
// variables to paste into another terminal.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"vault-plugin-secrets-modal/e2e/lab"
)

// version is a version that no build of the reader has, because each build needs a version of its own.
const version = "v0.0.0-make-dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := run(ctx)
	interrupted := ctx.Err() != nil
	stop()
	if err != nil && !interrupted {
		fmt.Fprintln(os.Stderr, "dev:", lab.Mask(err.Error()))
		os.Exit(1)
	}
}

func run(ctx context.Context) (err error) {
	fmt.Println("Building the plugin, and finding or building Vault …")
	tools, err := lab.BuildTools(ctx, os.Stderr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tools.Close()) }()
	plugin, err := tools.BuildPlugin(ctx, version)
	if err != nil {
		return err
	}
	l, err := lab.New(tools)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Close()) }()

	d := &dev{tools: tools}
	if d.vault, d.emulator, err = l.StartMounted(ctx, plugin); err != nil {
		return err
	}
	if err = d.print(ctx); err != nil {
		return err
	}
	<-ctx.Done()
	fmt.Println("\nStopping …")
	return nil
}

// dev holds the running programs.
type dev struct {
	tools    *lab.Tools
	vault    *lab.Vault
	emulator *lab.Emulator
}

// print prints the variables that README and docs use.
func (d *dev) print(ctx context.Context) error {
	var block strings.Builder
	fmt.Fprintf(&block, "export PATH=%q:\"$PATH\" VAULT_ADDR=%s VAULT_TOKEN=%s SERVER_URL=%s\n",
		d.tools.Bin, d.vault.Addr, d.vault.Token, d.emulator.URL)
	// Three member tokens: for config, for a static role, and for the first rotation of that role.
	for _, prefix := range []string{"ADMIN_", "", "NEW_"} {
		token, err := d.emulator.NewToken(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(&block, "export %[1]sTOKEN_ID=%[2]s %[1]sTOKEN_SECRET=%[3]s\n", prefix, token.ID, token.Secret)
	}
	fmt.Printf(`
An empty Vault with the plugin at modal/, and an emulator of Modal. Paste this into another terminal:

%s
If a command waits for a secret, paste the secret that is beside the token's ID above. To make and delete
tokens, use the emulator's page: %s

Ctrl-C ends both and deletes their data.
`, &block, d.emulator.Page)
	return nil
}
