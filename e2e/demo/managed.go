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
		"refresh_interval=5s", "rotation_period=20s", "grace_period=30s"); err != nil {
		return err
	}
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
	if d.managed, err = d.current(ctx); err != nil {
		return err
	}
	return d.run(ctx, "", "list", "-detailed", "modal/rotate")
}

func (d *demo) scheduled(ctx context.Context) error {
	if d.elsewhere() {
		return nil
	}
	d.note("Vault wakes the engine once a minute, so this can take a minute")
	started := time.Now()
	err := lab.Until(ctx, "the role ci to be rotated on schedule", func() error {
		now, err := d.current(ctx)
		if err == nil && now == d.managed {
			err = fmt.Errorf("its token is still %s", now)
		}
		return err
	})
	if err != nil {
		return err
	}
	d.note("%s later the role has another token, without any command:", time.Since(started).Round(time.Second))
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
