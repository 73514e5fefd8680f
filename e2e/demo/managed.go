// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// tokenID matches the token ID of a .modal.toml.
var tokenID = regexp.MustCompile(`token_id = "(ak-\w+)"`)

// elsewhere reports whether the demo runs against Modal itself, and prints why it skips a step about managed
// roles there.
func (d *demo) elsewhere() bool {
	if d.emulator == nil {
		d.note("skipped: this step would create service users in your workspace")
	}
	return d.emulator == nil
}

func (d *demo) empower(ctx context.Context) error {
	if d.elsewhere() {
		return nil
	}
	admin, err := d.emulator.NewToken(ctx)
	if err != nil {
		return err
	}
	d.note("a token of a workspace owner or manager can create service users; %s is the operator's", admin)
	if err = d.run(ctx, admin.Secret, "write", "modal/config", "token_id="+admin.ID, "token_secret=-"); err != nil {
		return err
	}
	return d.run(ctx, "", "read", "modal/config")
}

func (d *demo) manage(ctx context.Context) error {
	if d.elsewhere() {
		return nil
	}
	d.note("the engine creates a service user with only these roles; the times are short for the demo")
	if err := d.run(ctx, "", "write", "modal/roles/ci", "type=managed", "environment_roles=main=contributor,staging=viewer",
		"refresh_interval=5s", "rotation_period=20s", "grace_period=2m"); err != nil {
		return err
	}
	d.due = time.Now().Add(20 * time.Second)
	d.copy = filepath.Join(d.lab.Dir, "ci.modal.toml")
	text, err := d.show(ctx, "", "read", "-field=toml", "modal/creds/ci/toml")
	if err != nil {
		return err
	}
	if err = os.WriteFile(d.copy, []byte(text.Stdout), 0o600); err != nil {
		return err
	}
	if err = d.authenticate(ctx, d.copy); err != nil {
		return err
	}
	id := tokenID.FindStringSubmatch(text.Stdout)
	if id == nil {
		return errors.New("the .modal.toml of the role ci contains no token ID")
	}
	d.managed = id[1]
	d.saw("The engine created a service user with two limited roles, and a token for the role ci.")
	return d.run(ctx, "", "list", "-detailed", "modal/rotate")
}

func (d *demo) scheduled(ctx context.Context) error {
	if d.elsewhere() {
		return nil
	}
	d.note("the rotation is due 20s after the last one, and Vault wakes the engine once a minute: this takes up to 80s")
	err := d.wait(ctx, "the role ci to rotate on schedule", d.vault.NextTick(d.due), func() error {
		now, err := d.current(ctx)
		if err == nil && now == d.managed {
			err = fmt.Errorf("its token is still %s", now)
		}
		return err
	})
	if err != nil {
		return err
	}
	d.saw("The role ci rotated on schedule, without a command. Its old token kept working for its grace period.")
	d.note("the role has another token, without any command:")
	if err = d.run(ctx, "", "read", "modal/rotate/ci"); err != nil {
		return err
	}
	if err = d.run(ctx, "", "list", "-detailed", "modal/revocations"); err != nil {
		return err
	}
	d.note("the old token works until its grace period ends:")
	return d.authenticate(ctx, d.copy)
}

func (d *demo) prove(ctx context.Context) error {
	if d.elsewhere() {
		return nil
	}
	d.note("the engine does this when the grace period is over; before that, revoking the token needs force=true:")
	if err := d.run(ctx, "", "write", "modal/revocations/"+d.managed, "force=true"); err != nil {
		return err
	}
	if err := d.rejected(ctx, d.copy, d.managed); err != nil {
		return err
	}
	d.saw("One command revoked a token that still worked, as after a leak.")
	d.note("that token worked a moment ago; a manual rotation is just as short:")
	if err := d.run(ctx, "", "write", "modal/rotate/ci", "grace_period=10m"); err != nil {
		return err
	}
	return d.run(ctx, "", "list", "-detailed", "modal/revocations")
}

// current returns the ID of the managed role's current token and prints nothing.
func (d *demo) current(ctx context.Context) (string, error) {
	result, err := d.vault.Run(ctx, "", "read", "-field=token_id", "modal/creds/ci")
	if err = errors.Join(err, result.Err()); err != nil {
		return "", err
	}
	return strings.TrimSpace(result.Stdout), nil
}
