// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// createManaged mints the first token. Where that fails nothing is left at Modal, or the ledger has it.
func (e *Engine) createManaged(ctx context.Context, r *Role, ask RoleWrite) (warnings []string, err error) {
	cfg, err := e.permitted(ctx, r)
	if err != nil {
		return nil, err
	}
	made, err := e.mint(ctx, cfg, r.order(ask.Name))
	if err != nil {
		return nil, fmt.Errorf("%w; the role was not stored: write it again once that is mended", err)
	}
	ctx = context.WithoutCancel(ctx)
	if err = e.establish(ctx, ask.Name, r, made.Token); err != nil {
		return nil, err
	}
	e.leaveLedger(ctx, made.entry.Key())
	return made.warnings, nil
}

// updateManaged changes what the living service user may do and when it is replaced, and mints nothing.
func (e *Engine) updateManaged(ctx context.Context, before, after *Role, ask RoleWrite) (warnings []string, err error) {
	name := ask.Name
	cfg, err := e.permitted(ctx, after)
	if err != nil {
		return nil, err
	}
	warnings = after.Managed.atNextRotation(before.Managed)
	same := reflect.DeepEqual(before, after)
	if same && !ask.Access.EnvironmentRoles.Asked {
		return warnings, nil
	}
	cred, err := e.credentials.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	if cred != nil && ask.Access.EnvironmentRoles.Asked {
		told, failed := e.changeRoles(ctx, cfg, name, cred, after.Managed.EnvironmentRoles)
		if failed != nil {
			return nil, e.mendGone(fmt.Errorf("%w; the role was not changed", failed), name)
		}
		warnings = append(warnings, told...)
	}
	if same {
		return warnings, nil
	}
	if cred != nil && after.rotatesOtherwise(before) {
		if err = e.credentials.Put(ctx, name, cred.rescheduled(after, e.Now())); err != nil {
			return nil, err
		}
	}
	return warnings, e.roles.Put(ctx, name, after)
}

// changeRoles makes Modal give the role's current token what is wanted, and its previous ones too: what
// is taken away ends for all of them, or the answer says that it does not. What is added is for no token
// that is on its way out.
func (e *Engine) changeRoles(ctx context.Context, cfg *Config, name string, cred *Credential,
	wanted map[string]modalapi.EnvironmentRole,
) (warnings []string, err error) {
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), briefBudget)
	defer cancel()
	previous, err := e.previousTokens(ctx, name)
	if err != nil {
		return nil, err
	}
	if err = e.grant(brief, cfg, cred.Token, exactly(wanted)); err != nil {
		return nil, err
	}
	for _, entry := range previous {
		if !entry.ours() || entry.Begun || entry.isOf(cred) || entry.Reason == reasonUnfinished {
			continue
		}
		failed := e.grant(brief, cfg, entry.Token, atMost(wanted))
		if gone := (*goneError)(nil); failed != nil && !errors.As(failed, &gone) { // what is gone has no role
			warnings = append(warnings, fmt.Sprintf("the previous token %s keeps the environment roles that it had until it ends (%s): %s", entry.ID, e.NextStep(entry), failed))
		}
	}
	return warnings, nil
}

// permitted refuses a write that leaves a role with more than the limits in config allow.
func (e *Engine) permitted(ctx context.Context, r *Role) (*Config, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	if err = cfg.permits(r); err != nil {
		return nil, fmt.Errorf("%w; nothing was changed", err)
	}
	return cfg, nil
}
