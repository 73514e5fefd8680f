// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"reflect"
	"slices"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// createManaged mints the first token. Where that fails nothing is left at Modal, or the ledger has it.
func (b *backend) createManaged(ctx context.Context, r *role, ask roleWrite, resp *logical.Response) error {
	cfg, err := b.permitted(ctx, r, ask)
	if err != nil {
		return err
	}
	made, err := b.mint(ctx, cfg, ask.name, r)
	if err != nil {
		return fmt.Errorf("%w; the role was not stored", err)
	}
	ctx = context.WithoutCancel(ctx)
	resp.Warnings = slices.Concat(made.warnings, r.warnings())
	if err = b.establish(ctx, ask.name, r, made.Token); err != nil {
		return err
	}
	b.leaveLedger(ctx, made.entry.key())
	return nil
}

// updateManaged changes what the living service user may do and when it is replaced, and mints nothing.
func (b *backend) updateManaged(ctx context.Context, before, after *role, ask roleWrite, resp *logical.Response) error {
	name := ask.name
	cfg, err := b.permitted(ctx, after, ask)
	if err != nil {
		return err
	}
	resp.Warnings = append(resp.Warnings, after.Managed.atNextRotation(before.Managed)...)
	same := reflect.DeepEqual(before, after)
	if same && !ask.managed.environmentRoles.asked {
		return nil
	}
	cred, err := b.credentials.Get(ctx, name)
	if err != nil {
		return err
	}
	if cred != nil && ask.managed.environmentRoles.asked {
		warnings, err := b.changeRoles(ctx, cfg, name, cred, after.Managed.EnvironmentRoles)
		if err != nil {
			return fmt.Errorf("%w; the role was not changed", err)
		}
		resp.Warnings = append(resp.Warnings, warnings...)
	}
	if same {
		return nil
	}
	if cred != nil && after.rotatesOtherwise(before) {
		if err = b.credentials.Put(ctx, name, cred.rescheduled(after, b.now())); err != nil {
			return err
		}
	}
	return b.roles.Put(ctx, name, after)
}

// changeRoles makes Modal give the role's current token what is wanted, and its previous ones too: what
// is taken away ends for all of them, or the answer says that it does not.
func (b *backend) changeRoles(ctx context.Context, cfg *config, name string, cred *credential,
	wanted map[string]modalapi.EnvironmentRole,
) (warnings []string, err error) {
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), briefBudget)
	defer cancel()
	if err = b.grant(brief, cfg, cred.Token, wanted); err != nil {
		return nil, err
	}
	previous, err := b.previousTokens(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, entry := range previous {
		if !entry.ours() || entry.Begun || entry.isOf(cred) || entry.Reason == reasonUnfinished {
			continue
		}
		if failed := b.grant(brief, cfg, entry.Token, wanted); failed != nil {
			warnings = append(warnings, fmt.Sprintf("the previous token %s keeps the environment roles that it had until it ends (%s): %s; "+
				"end it now with: write revocations/%s force=true", entry.ID, entry.nextStep(b.now()), failed, entry.key()))
		}
	}
	return warnings, nil
}

// permitted refuses a write of a managed role that brings a token, or leaves the role with more than
// the ceilings allow.
func (b *backend) permitted(ctx context.Context, r *role, ask roleWrite) (*config, error) {
	if err := ask.refuseForManaged(); err != nil {
		return nil, err
	}
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	if err = cfg.permits(r); err != nil {
		return nil, fmt.Errorf("%w; nothing was changed", err)
	}
	return cfg, nil
}
