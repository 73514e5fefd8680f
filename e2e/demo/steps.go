// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"vault-plugin-secrets-modal/e2e/lab"
)

const (
	policy     = `path "modal/creds/personal/toml" { capabilities = ["read"] }`
	tokensPage = "https://modal.com/settings/tokens"
)

// demo holds what the steps share.
type demo struct {
	*screen
	lab      *lab.Lab
	plugin   lab.Plugin
	vault    *lab.Vault
	emulator *lab.Emulator // nil with Modal itself
	agent    *lab.Agent
	// first is the role's token. next is the token that replaces it; without next the demo does not rotate.
	first, next lab.Token
	// old is a copy of the Agent's file from before the rotation.
	old string
	// managed is the ID of the managed role's first token. copy is a .modal.toml with that token.
	managed, copy string
	// due is when the managed role has to rotate.
	due time.Time
	// seen lists what the demo has shown.
	seen []string
}

type step struct {
	title string
	do    func(context.Context) error
}

// play shows the steps in order and stops at the first step that fails.
func (d *demo) play(ctx context.Context) error {
	steps := []step{
		{"Choose a Modal: an emulator, or your own workspace", d.start},
		{"Register the plugin and enable it at modal/", d.enable},
		{"Store a Modal token as the role personal", d.store},
		{"Read the token in the form that each consumer needs", d.read},
		{"Let Vault Agent keep a .modal.toml, and Modal's Go SDK use it", d.consume},
		{"Rotate: the Agent's file changes by itself", d.rotate},
		{"End the old token: it deletes itself, and Modal rejects it", d.revoke},
		{"Rotate by one click in a browser: no secret passes a terminal", d.approve},
		{"Give the engine an admin token", d.empower},
		{"Let the engine create the tokens of the role ci", d.manage},
		{"Rotate on schedule: only wait", d.scheduled},
		{"Revoke the old token, and see Modal reject it", d.prove},
		{"A token for one job, which ends with its lease", d.leaseOut},
	}
	for _, step := range steps {
		d.title(step.title)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("step %d failed (%s): %w", d.titles, step.title, err)
		}
	}
	d.summarize()
	return nil
}

// saw adds a line to the summary.
func (d *demo) saw(format string, args ...any) { d.seen = append(d.seen, fmt.Sprintf(format, args...)) }

// summarize prints what the demo has shown, and what to do next.
func (d *demo) summarize() {
	d.heading("What you saw")
	for _, line := range d.seen {
		fmt.Fprintln(d.file, "- "+line)
	}
	d.heading("What to try next")
	fmt.Fprint(d.file, `- make dev             an empty server with the plugin and the emulator, to type these commands yourself
- README.md            "First token": from an empty server to a token, with make dev or with your own Vault
- docs/consumers.md    give a token to your programs: Vault Agent, CI, Kubernetes, Terraform
`)
}

func (d *demo) start(ctx context.Context) (err error) {
	d.note("the server answers at %s, with storage, log and audit file in %s", d.vault.Addr, d.lab.Dir)
	if d.first.ID != "" {
		d.note("MODAL_TOKEN_ID is set: the demo uses Modal itself, with your token %s", d.first)
		return nil
	}
	if d.emulator, err = d.lab.StartEmulator(ctx); err != nil {
		return err
	}
	d.note("an emulator of Modal's control plane serves %s, and its page %s", d.emulator.URL, d.emulator.Page)
	if d.first, err = d.emulator.NewToken(ctx); err != nil {
		return err
	}
	d.next, err = d.emulator.NewToken(ctx)
	d.note("the operator created the tokens %s and %s on that page", d.first, d.next)
	return err
}

func (d *demo) enable(ctx context.Context) error {
	if err := d.run(ctx, "", d.plugin.RegisterArgs()...); err != nil {
		return err
	}
	if err := d.run(ctx, "", "secrets", "enable", "-path=modal", lab.PluginName); err != nil {
		return err
	}
	server := os.Getenv("MODAL_SERVER_URL")
	if d.emulator != nil {
		server = d.emulator.URL
	}
	if server == "" {
		return nil
	}
	return d.run(ctx, "", "write", "modal/config", "server_url="+server)
}

func (d *demo) store(ctx context.Context) error {
	d.note("token_secret=- reads from stdin, which no process list shows; readers read again every 5s for the demo")
	if err := d.run(ctx, d.first.Secret, "write", "modal/roles/personal",
		"type=static", "token_id="+d.first.ID, "token_secret=-", "refresh_interval=5s"); err != nil {
		return err
	}
	return d.run(ctx, "", "read", "modal/roles/personal")
}

func (d *demo) read(ctx context.Context) error {
	for _, args := range [][]string{
		{"read", "modal/creds/personal"},
		{"read", "-field=toml", "modal/creds/personal/toml"},
		{"read", "-field=dotenv", "modal/creds/personal/dotenv"},
		{"read", "-format=json", "modal/creds/personal/env"},
		{"read", "-field=toml", "modal/creds/personal/profile"},
	} {
		if err := d.run(ctx, "", args...); err != nil {
			return err
		}
	}
	d.note("wrapped, to give the token to somebody: the wrapping token works once")
	wrapped, err := d.field(ctx, "read", "-wrap-ttl=60s", "-field=wrapping_token", "modal/creds/personal")
	if err != nil {
		return err
	}
	d.saw("The engine checked a token with Modal and stored it. Programs read it as fields, file, dotenv, JSON or profile.")
	return d.run(ctx, "", "unwrap", "-field=token_id", wrapped)
}

func (d *demo) consume(ctx context.Context) error {
	if err := d.run(ctx, policy, "policy", "write", "personal", "-"); err != nil {
		return err
	}
	token, err := d.field(ctx, "token", "create", "-policy=personal", "-field=token")
	if err != nil {
		return err
	}
	if d.agent, err = d.lab.StartAgent(ctx, d.vault, token, "modal/creds/personal/toml"); err != nil {
		return err
	}
	d.command("", "cat", "agent.hcl")
	if err = d.output(ctx, d.agent.Config); err != nil {
		return err
	}
	d.command("", "vault", "agent", "-config=agent.hcl")
	if err = d.cat(ctx, d.agent.File); err != nil {
		return err
	}
	return d.authenticate(ctx, d.agent.File)
}

func (d *demo) rotate(ctx context.Context) error {
	if d.next.ID == "" {
		d.note("skipped: a rotation needs a second token, and the demo cannot create it in your workspace;")
		d.note("create a token at %s and set MODAL_NEXT_TOKEN_ID and MODAL_NEXT_TOKEN_SECRET", tokensPage)
		return nil
	}
	before, err := os.ReadFile(d.agent.File)
	if err != nil {
		return err
	}
	d.old = filepath.Join(d.lab.Dir, "old.modal.toml")
	if err = os.WriteFile(d.old, before, 0o600); err != nil {
		return err
	}
	if err = d.run(ctx, d.next.Secret, "write", "modal/rotate/personal", "token_id="+d.next.ID, "token_secret=-", "grace_period=10m"); err != nil {
		return err
	}
	started := time.Now()
	err = d.wait(ctx, "the Agent's file to change", started.Add(5*time.Second), func() error {
		now, readErr := os.ReadFile(d.agent.File)
		if readErr == nil && !strings.Contains(string(now), d.next.ID) {
			return fmt.Errorf("the file does not contain %s", d.next)
		}
		return readErr
	})
	if err != nil {
		return err
	}
	took := time.Since(started).Truncate(time.Second) + time.Second
	d.saw("Within %s of a rotation, Vault Agent wrote the new token to its file.", took)
	d.note("less than %s later:", took)
	if err = d.cat(ctx, d.agent.File); err != nil {
		return err
	}
	return d.authenticate(ctx, d.agent.File)
}

func (d *demo) revoke(ctx context.Context) error {
	if d.next.ID == "" {
		d.note("skipped: the demo did not rotate the role")
		return nil
	}
	revocation := "modal/revocations/" + d.first.ID
	if err := d.run(ctx, "", "read", revocation); err != nil {
		return err
	}
	d.note("the engine revokes the token when its grace period ends; before that, revoking the token needs force=true:")
	if err := d.run(ctx, "", "write", revocation, "force=true"); err != nil {
		return err
	}
	if err := d.queueEmpty(ctx); err != nil {
		return err
	}
	d.saw("The old token deleted itself at Modal, and Modal rejects it. Until that is proven, it stays in the revocation queue.")
	return d.rejected(ctx, d.old, d.first.ID)
}

// queueEmpty shows that the revocation queue is empty: Modal has rejected every replaced token.
func (d *demo) queueEmpty(ctx context.Context) error {
	args := []string{"list", "modal/revocations"}
	d.command("", append([]string{"vault"}, args...)...)
	result, err := d.vault.Run(ctx, "", args...)
	if err != nil {
		return err
	}
	if err = d.output(ctx, result.Stdout+result.Stderr); err != nil {
		return err
	}
	if !strings.Contains(result.Stderr, "No value found") {
		return errors.New("the revocation queue is not empty")
	}
	d.note("the revocation queue is empty")
	return nil
}
