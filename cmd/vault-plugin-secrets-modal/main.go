// SPDX-License-Identifier: MPL-2.0

// Command vault-plugin-secrets-modal is the secrets engine as Vault starts it.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/vault/api"
	_ "golang.org/x/crypto/x509roots/fallback" // root certificates for systems that have no certificates, like the release image

	modalsecrets "vault-plugin-secrets-modal"
	"vault-plugin-secrets-modal/internal/version"
)

func main() {
	err := run(os.Args[1:], os.Stdout)
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return
	}
	hclog.New(&hclog.LoggerOptions{JSONFormat: true}).Error("plugin stopped", "error", err)
	os.Exit(1)
}

// run serves the engine until Vault ends the process, or prints the version if the arguments ask for it.
func run(args []string, stdout io.Writer) error {
	var meta api.PluginAPIClientMeta
	flags := meta.FlagSet()
	showVersion := flags.Bool("version", false, "print the version and exit")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *showVersion {
		_, err := fmt.Fprintln(stdout, "vault-plugin-secrets-modal", version.Version)
		return err
	}

	room := roomForGarbage(os.Getenv)
	defer runtime.KeepAlive(room)
	return serve(modalsecrets.Factory, api.VaultPluginTLSProvider(meta.GetTLSConfig()))
}
