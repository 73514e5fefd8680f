// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"reflect"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// createManaged creates the first token. A failed creation leaves nothing at Modal, or leaves a revocation.
func (rs *Roles) createManaged(ctx context.Context, r *model.Role, ask model.RoleWrite) (warnings []string, err error) {
	cfg, err := rs.checkPermitted(ctx, r)
	if err != nil {
		return nil, err
	}
	created, err := rs.minter.mint(ctx, cfg, mintRequestFor(r, ask.Name))
	if err != nil {
		return nil, fmt.Errorf("%w; the role was not stored: solve this problem, then write the role again", err)
	}
	ctx = context.WithoutCancel(ctx)
	if err = rs.establish(ctx, ask.Name, r, created.Token); err != nil {
		return nil, err
	}
	rs.owners.LeaveQueue(ctx, created.entry.Key())
	return created.warnings, nil
}

// updateManaged changes the rights of the existing service user and the rotation schedule. It creates no token.
func (rs *Roles) updateManaged(ctx context.Context, before, after *model.Role, ask model.RoleWrite) (warnings []string, err error) {
	name := ask.Name
	cfg, err := rs.checkPermitted(ctx, after)
	if err != nil {
		return nil, err
	}
	warnings = after.Managed.ChangesAtNextRotation(before.Managed)
	same := reflect.DeepEqual(before, after)
	if same && !ask.Access.EnvironmentRoles.Set {
		return warnings, nil
	}
	cred, err := rs.mount.Credentials.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	uncertain := false
	if cred != nil && ask.Access.EnvironmentRoles.Set {
		changeWarnings, failed := rs.changeEnvironmentRoles(ctx, cfg, name, cred, before.Managed.EnvironmentRoles, after.Managed.EnvironmentRoles)
		if failed != nil {
			return nil, rs.rights.explainGone(fmt.Errorf("%w; the role was not changed", failed), name)
		}
		warnings, uncertain = append(warnings, changeWarnings...), len(changeWarnings) > 0
	}
	if uncertain || (cred != nil && after.RotatesDifferently(before)) {
		next := *cred
		if after.RotatesDifferently(before) {
			next = *cred.Rescheduled(after, rs.mount.Now(), rs.mount.Jitter)
		}
		next.RolesDiffer = next.RolesDiffer || uncertain // then the worker sets the roles again
		if err = rs.mount.Credentials.Put(ctx, name, &next); err != nil {
			return nil, err
		}
	}
	if same {
		return warnings, nil
	}
	return warnings, rs.mount.Roles.Put(ctx, name, after)
}

// changeEnvironmentRoles gives the role's current token the wanted rights, and removes from previous tokens the
// rights that the role loses. A warning names each token that keeps them. Previous tokens get no new rights, because
// they end soon. Modal's answers may be out of date. So the write sets each environment that it changes, and reads
// the roles back.
func (rs *Roles) changeEnvironmentRoles(ctx context.Context, cfg *model.Config, name string, cred *model.Credential,
	before, wanted map[string]modalapi.EnvironmentRole,
) (warnings []string, err error) {
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), state.BriefBudget)
	defer cancel()
	previous, err := rs.mount.PreviousTokens(ctx, name)
	if err != nil {
		return nil, err
	}
	current := model.RoleChange{Want: model.Exactly(wanted), Always: model.ChangedIn(before, wanted), Back: model.AtMost(before)}
	changed, err := rs.rights.change(brief, cfg, cred.Token, current)
	if err != nil {
		return nil, err
	}
	set, kept := rs.rights.narrowPrevious(brief, cfg, cred, previous, model.RoleChange{Want: model.AtMost(wanted), Always: model.LostIn(before, wanted)})
	if changed {
		set = append(set, changedUser{token: cred.Token, want: current.Want})
	}
	for _, why := range kept {
		warnings = append(warnings, why.Error())
	}
	for _, user := range rs.rights.readBack(brief, cfg, set) {
		warnings = append(warnings, rs.rights.notShown(cfg, user))
	}
	return warnings, nil
}

// checkPermitted refuses a write whose result exceeds the limits in config.
func (rs *Roles) checkPermitted(ctx context.Context, r *model.Role) (*model.Config, error) {
	cfg, err := rs.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	if err = cfg.CheckRole(r); err != nil {
		return nil, fmt.Errorf("%w; nothing was changed", err)
	}
	return cfg, nil
}
