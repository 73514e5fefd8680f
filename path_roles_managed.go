// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/hashicorp/vault/sdk/framework"
	"github.com/hashicorp/vault/sdk/logical"
)

// createManaged mints the first token. Where that fails nothing is left at Modal, or the ledger has it.
func (b *backend) createManaged(ctx context.Context, s logical.Storage, name string, r *role, d *framework.FieldData, resp *logical.Response) error {
	if err := refusePair(d); err != nil {
		return err
	}
	cfg, err := b.loadConfig(ctx, s)
	if err != nil {
		return err
	}
	made, err := b.mint(ctx, s, cfg, name, r)
	if err != nil {
		return fmt.Errorf("%w; the role was not stored", err)
	}
	ctx = context.WithoutCancel(ctx)
	resp.Warnings = slices.Concat(made.warnings, r.warnings())
	if err = b.establish(ctx, s, name, r, made.token); err != nil {
		return err
	}
	b.leaveLedger(ctx, s, made.entry.key())
	return nil
}

// updateManaged changes what the living service user may do and when it is replaced, and mints nothing.
func (b *backend) updateManaged(ctx context.Context, s logical.Storage, name string, before, after *role, d *framework.FieldData, resp *logical.Response) error {
	if err := refusePair(d); err != nil {
		return err
	}
	resp.Warnings = append(resp.Warnings, after.Managed.atNextRotation(before.Managed)...)
	if reflect.DeepEqual(before, after) {
		return nil
	}
	cred, err := b.credentials.get(ctx, s, name)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), briefBudget)
	defer cancel()
	if cred != nil && !maps.Equal(before.Managed.EnvironmentRoles, after.Managed.EnvironmentRoles) {
		if err = b.changeRoles(ctx, s, cred.token, after); err != nil {
			return fmt.Errorf("%w; the role was not changed", err)
		}
	}
	if cred != nil && after.rotatesOtherwise(before) {
		if err = b.credentials.put(ctx, s, name, cred.rescheduled(after, b.now())); err != nil {
			return err
		}
	}
	return b.roles.put(ctx, s, name, after)
}

func (b *backend) changeRoles(ctx context.Context, s logical.Storage, current token, r *role) error {
	cfg, err := b.loadConfig(ctx, s)
	if err != nil {
		return err
	}
	if err = cfg.permits(r); err != nil {
		return err
	}
	return b.grant(ctx, cfg, current, r.Managed.EnvironmentRoles)
}

// refusePair refuses what only an operator of a static role brings.
func refusePair(d *framework.FieldData) error {
	for _, field := range []string{fieldTokenID, fieldTokenSecret, fieldVerify} {
		if _, given := d.Raw[field]; given {
			return refusef("%s is for static roles: the engine mints the tokens of a managed role; leave it out; nothing was changed", field)
		}
	}
	return nil
}
