// SPDX-License-Identifier: MPL-2.0

//go:build unix

// Command recording runs a few commands in a real Vault with the plugin, against an emulator of Modal. It
// draws what a terminal shows as a picture. Token secrets are cut to their first six characters.
package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"strings"

	"vault-plugin-secrets-modal/e2e/lab"
)

func main() {
	file := flag.String("o", "docs/recording.svg", "the picture to write")
	flag.Parse()
	lab.Main("recording", func(ctx context.Context) error {
		return lab.OnStage(ctx, "v0.0.0-recording", func(stage *lab.Stage) error { return record(ctx, stage, *file) })
	})
}

// record runs the commands and writes the picture.
func record(ctx context.Context, stage *lab.Stage, file string) error {
	emulator, err := stage.Mount(ctx)
	if err != nil {
		return err
	}
	admin, err := emulator.NewToken(ctx)
	if err != nil {
		return err
	}
	r := &recorder{vault: stage.Vault}
	if _, err = r.run(ctx, admin.Secret, "write", "modal/config", "server_url="+emulator.URL, "token_id="+admin.ID, "token_secret=-"); err != nil {
		return err
	}
	if err = r.play(ctx); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(picture(r.frames)), 0o644)
}

// recorder keeps the output of the commands, with one frame for each title.
type recorder struct {
	vault  *lab.Vault
	frames []frame
}

// frame holds the lines that are on the screen at the same time.
type frame struct{ lines []string }

// play runs the commands that the recording shows.
func (r *recorder) play(ctx context.Context) error {
	r.title("The engine creates a service user at Modal, and a token with only these permissions")
	if err := r.show(ctx, "write", "modal/roles/ci", "type=managed", "environment_roles=main=contributor"); err != nil {
		return err
	}
	r.title("Programs read the token in the form that they need")
	if err := r.show(ctx, "read", "modal/creds/ci"); err != nil {
		return err
	}
	r.title("As text for a shell, or as a file")
	if err := r.show(ctx, "read", "-field=dotenv", "modal/creds/ci/dotenv"); err != nil {
		return err
	}
	if err := r.show(ctx, "read", "-field=toml", "modal/creds/ci/toml"); err != nil {
		return err
	}
	old, err := r.run(ctx, "", "read", "-field=token_id", "modal/creds/ci")
	if err != nil {
		return err
	}
	r.title("The role rotates by itself, or now; the old token works for its grace period")
	if err = r.show(ctx, "write", "-f", "modal/rotate/ci"); err != nil {
		return err
	}
	r.title("A token leaked: revoke it now, and see Modal reject it")
	if err = r.show(ctx, "list", "-detailed", "modal/revocations"); err != nil {
		return err
	}
	if err = r.show(ctx, "write", "modal/revocations/"+strings.TrimSpace(old), "force=true"); err != nil {
		return err
	}
	return r.show(ctx, "list", "-detailed", "modal/rotate")
}

func (r *recorder) title(text string) {
	r.frames = append(r.frames, frame{[]string{"# " + text}})
}

// show runs a vault command and shows the command with its output. A command that fails is an error.
func (r *recorder) show(ctx context.Context, args ...string) error {
	said, err := r.run(ctx, "", args...)
	if err != nil {
		return err
	}
	now := &r.frames[len(r.frames)-1]
	text := "$ vault " + strings.Join(args, " ") + "\n" + lab.Mask(strings.TrimRight(said, "\n"))
	for line := range strings.SplitSeq(text, "\n") {
		now.lines = append(now.lines, wrapped(line)...)
	}
	return nil
}

func (r *recorder) run(ctx context.Context, stdin string, args ...string) (string, error) {
	result, err := r.vault.Run(ctx, stdin, args...)
	return result.Stdout, errors.Join(err, result.Err())
}
