// SPDX-License-Identifier: MPL-2.0

//go:build unix

// Command dev starts what a reader of the README needs next and keeps it running until Ctrl-C: a Vault server
// with the plugin at modal/, without configuration, and an emulator of Modal's control plane. It prints the
// variables to paste into another terminal.
package main

import (
	"context"
	"fmt"
	"strings"

	"vault-plugin-secrets-modal/e2e/lab"
)

// version is a version that no build of the reader has, because each build needs a version of its own.
const version = "v0.0.0-make-dev"

func main() { lab.Main("dev", run) }

func run(ctx context.Context) error {
	err := lab.OnStage(ctx, version, func(stage *lab.Stage) error {
		emulator, err := stage.Mount(ctx)
		if err != nil {
			return err
		}
		if err = show(ctx, stage, emulator); err != nil {
			return err
		}
		<-ctx.Done()
		fmt.Println("\nStopping …")
		return nil
	})
	if err == nil {
		fmt.Println("Both have ended, and their data is deleted.")
	}
	return err
}

// show prints the variables that README and docs use, and what to do with them.
func show(ctx context.Context, stage *lab.Stage, emulator *lab.Emulator) error {
	server := "Vault"
	if stage.Tools.OpenBao {
		server = "OpenBao"
	}
	var block strings.Builder
	fmt.Fprintf(&block, "export PATH=%q:\"$PATH\" VAULT_ADDR=%s VAULT_TOKEN=%s SERVER_URL=%s ISSUER=%s\n",
		stage.Tools.Bin, stage.Vault.Addr, stage.Vault.Token, emulator.URL, emulator.Page)
	// Three member tokens: for config, for a static role, and for the first rotation of that role.
	for _, prefix := range []string{"ADMIN_", "", "NEW_"} {
		token, err := emulator.NewToken(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(&block, "export %[1]sTOKEN_ID=%[2]s %[1]sTOKEN_SECRET=%[3]s\n", prefix, token.ID, token.Secret)
	}
	fmt.Printf(`
An empty %s with the plugin at modal/, and an emulator of Modal. Paste this into another terminal:

%s
If a command waits for a secret, paste the secret that is beside the token's ID above. To make and delete
tokens, use the emulator's page: %s

To watch a rotation, first create the role ci (README.md, "First token"). Then run the first line in one
terminal and the second line in another: the token ID changes.

  while vault read -field=token_id modal/creds/ci; do sleep 2; done
  vault write -f modal/rotate/ci

Ctrl-C ends both and deletes their data.
`, server, &block, emulator.Page)
	return nil
}
