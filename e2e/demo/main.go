// SPDX-License-Identifier: MPL-2.0

//go:build unix

// Command demo shows the engine at work with real programs: a Vault server with the plugin, Vault Agent and
// Modal's Go SDK, against an emulator of Modal's control plane. If MODAL_TOKEN_ID and MODAL_TOKEN_SECRET are
// set, the demo talks to Modal itself (or to MODAL_SERVER_URL) and changes nothing there. The demo cannot
// create a second token at Modal, so it rotates only if MODAL_NEXT_TOKEN_ID and MODAL_NEXT_TOKEN_SECRET name
// the next token.
package main

import (
	"context"
	"errors"
	"os"

	"vault-plugin-secrets-modal/e2e/lab"
)

func main() { lab.Main("demo", run) }

func run(ctx context.Context) error {
	first, next, err := ownTokens()
	if err != nil {
		return err
	}
	out := newScreen(os.Stdout)
	if out.terminal {
		out.note("the demo takes about three minutes, with pauses to read; without pauses: make demo | cat")
	}
	out.title("Start a server, and build the plugin")
	return lab.OnStage(ctx, "v0.0.0-demo", func(stage *lab.Stage) error {
		if err := stage.Tools.BuildSDK(ctx); err != nil {
			return err
		}
		d := &demo{screen: out, lab: stage.Lab, plugin: stage.Plugin, vault: stage.Vault, first: first, next: next}
		return d.play(ctx)
	})
}

// ownTokens returns the Modal tokens of the person who runs the demo. Empty tokens mean that the emulator is
// used.
func ownTokens() (first, next lab.Token, err error) {
	first = lab.Token{ID: os.Getenv("MODAL_TOKEN_ID"), Secret: os.Getenv("MODAL_TOKEN_SECRET")}
	next = lab.Token{ID: os.Getenv("MODAL_NEXT_TOKEN_ID"), Secret: os.Getenv("MODAL_NEXT_TOKEN_SECRET")}
	switch {
	case (first.ID == "") != (first.Secret == ""):
		err = errors.New("set both MODAL_TOKEN_ID and MODAL_TOKEN_SECRET to use Modal itself, or neither to use the emulator")
	case (next.ID == "") != (next.Secret == ""):
		err = errors.New("set both MODAL_NEXT_TOKEN_ID and MODAL_NEXT_TOKEN_SECRET to rotate, or neither to skip the rotation")
	}
	return first, next, err
}
