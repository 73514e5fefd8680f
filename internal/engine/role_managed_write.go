// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
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
	made, err := e.mint(ctx, cfg, orderFor(r, ask.Name))
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
	unsettled := false
	if cred != nil && ask.Access.EnvironmentRoles.Asked {
		told, failed := e.changeRoles(ctx, cfg, name, cred, before.Managed.EnvironmentRoles, after.Managed.EnvironmentRoles)
		if failed != nil {
			return nil, e.mendGone(fmt.Errorf("%w; the role was not changed", failed), name)
		}
		warnings, unsettled = append(warnings, told...), len(told) > 0
	}
	if unsettled || (cred != nil && after.rotatesOtherwise(before)) {
		next := *cred
		if after.rotatesOtherwise(before) {
			next = *cred.rescheduled(after, e.Now())
		}
		next.Drifted = next.Drifted || unsettled // then the worker sets the roles again
		if err = e.credentials.Put(ctx, name, &next); err != nil {
			return nil, err
		}
	}
	if same {
		return warnings, nil
	}
	return warnings, e.roles.Put(ctx, name, after)
}

// changeRoles gives the role's current token the wanted rights, and takes from the previous tokens the rights that the
// role loses, or a warning says that a token keeps them. Previous tokens get no new rights: they are on their way out.
// Modal's answers may be out of date, so the write sets each environment that it changes, and reads the roles back.
func (e *Engine) changeRoles(ctx context.Context, cfg *Config, name string, cred *Credential,
	before, wanted map[string]modalapi.EnvironmentRole,
) (warnings []string, err error) {
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), briefBudget)
	defer cancel()
	previous, err := e.previousTokens(ctx, name)
	if err != nil {
		return nil, err
	}
	current := roleChange{want: exactly(wanted), always: changedIn(before, wanted), back: atMost(before)}
	changed, err := e.change(brief, cfg, cred.Token, current)
	if err != nil {
		return nil, err
	}
	set, kept := e.narrowPrevious(brief, cfg, cred, previous, roleChange{want: atMost(wanted), always: lostIn(before, wanted)})
	if changed {
		set = append(set, changedUser{token: cred.Token, want: current.want})
	}
	for _, why := range kept {
		warnings = append(warnings, why.Error())
	}
	for _, user := range e.readBack(brief, cfg, set) {
		warnings = append(warnings, user.notShown())
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
