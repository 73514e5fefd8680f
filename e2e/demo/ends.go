// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
)

// approve rotates the static role through a browser approval. The demo approves on the emulator's page.
func (d *demo) approve(ctx context.Context) error {
	const path = "modal/rotate/personal/approval"
	if d.emulator == nil {
		d.note("skipped: with Modal itself, run this command and open the url that it prints: vault write -f %s", path)
		return nil
	}
	if err := d.run(ctx, "", "write", "-f", path); err != nil {
		return err
	}
	state, err := d.emulator.State(ctx)
	if err != nil {
		return err
	}
	if len(state.Flows) == 0 {
		return errors.New("the approval has no page to approve on")
	}
	if err = d.emulator.Approve(ctx, state.Flows[len(state.Flows)-1], "operator"); err != nil {
		return err
	}
	d.note("the operator opened the url and approved; a moment later the engine has the token:")
	if err = d.run(ctx, "", "read", path, "wait=20s"); err != nil {
		return err
	}
	if version, err := d.field(ctx, "read", "-field=version", "modal/creds/personal"); err != nil || version != "3" {
		return fmt.Errorf("the role has version %s instead of 3: %w", version, err)
	}
	d.saw("One click in a browser rotated a role. No secret passed a terminal.")
	return nil
}

// leaseOut reads a dynamic role and revokes the lease.
func (d *demo) leaseOut(ctx context.Context) error {
	if d.elsewhere() {
		return nil
	}
	if err := d.run(ctx, "", "write", "modal/roles/job", "type=dynamic", "environment_roles=main=viewer", "ttl=10m", "max_ttl=1h"); err != nil {
		return err
	}
	lease, err := d.field(ctx, "read", "-field=lease_id", "modal/creds/job")
	if err != nil {
		return err
	}
	d.note("the lease is %s; its service user at Modal exists as long as the lease", lease)
	if err = d.run(ctx, "", "list", "-detailed", "modal/revocations"); err != nil {
		return err
	}
	if err = d.run(ctx, "", "lease", "revoke", "-sync", lease); err != nil {
		return err
	}
	state, err := d.emulator.State(ctx)
	if err != nil {
		return err
	}
	for _, user := range state.ServiceUsers {
		if strings.Contains(user.Name, "-job-") {
			return fmt.Errorf("service user %s still exists after the end of its lease", user.Name)
		}
	}
	d.note("Modal no longer has the lease's service user")
	d.saw("A job got a token of its own, which ended with its lease.")
	return nil
}
