// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// createStatic stores a static role, with its first token if the request brings one.
func (rs *Roles) createStatic(ctx context.Context, r *model.Role, ask model.RoleWrite) (warnings []string, err error) {
	if ask.Token == nil {
		return nil, rs.establishEmpty(ctx, ask.Name, r)
	}
	cfg, err := rs.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	first, err := rs.acceptFirst(ctx, cfg, ask)
	if err != nil {
		return nil, err
	}
	if err = rs.establish(ctx, ask.Name, r, first); err != nil {
		return nil, err
	}
	return slices.Concat(ask.Warnings, first.Warnings(), rs.rotations.shortLifeWarnings(ask.Name, r, first), rs.environmentWarnings(ctx, cfg, r.Environment, first)), nil
}

// updateStatic stores changed settings of a static role, and checks the token if the request brings one.
func (rs *Roles) updateStatic(ctx context.Context, before, after *model.Role, ask model.RoleWrite) (warnings []string, err error) {
	if ask.Token != nil {
		if warnings, err = rs.confirmToken(ctx, after, ask); err != nil {
			return nil, err
		}
	}
	warnings = slices.Concat(ask.Warnings, warnings)
	if *after == *before {
		return warnings, nil
	}
	if after.Environment != before.Environment {
		cfg, failed := rs.mount.LoadConfig(ctx)
		if failed != nil {
			return nil, failed
		}
		cred, failed := rs.mount.Credentials.Get(ctx, ask.Name)
		if failed != nil {
			return nil, failed
		}
		if cred != nil {
			warnings = append(warnings, rs.environmentWarnings(ctx, cfg, after.Environment, cred.Token)...)
		}
	}
	return warnings, rs.mount.Roles.Put(ctx, ask.Name, after)
}

// establishEmpty stores a role without a token: the first token comes later, or the role is dynamic. It removes a
// credential that an interrupted create or delete left under the role's name.
func (rs *Roles) establishEmpty(ctx context.Context, name string, r *model.Role) error {
	rs.owners.AssignMu.Lock()
	defer rs.owners.AssignMu.Unlock()
	left, err := rs.mount.Credentials.Get(ctx, name)
	if err != nil {
		return err
	}
	if left != nil {
		if err = rs.mount.Credentials.Delete(ctx, name); err != nil {
			return err
		}
	}
	return rs.mount.Roles.Put(ctx, name, r)
}

// confirmToken accepts the current token again, and verifies it if it was stored with verify=false. If the role has
// no token, confirmToken stores the first one. It refuses any other token and points to rotate.
func (rs *Roles) confirmToken(ctx context.Context, r *model.Role, ask model.RoleWrite) (warnings []string, err error) {
	name, supplied := ask.Name, *ask.Token
	cred, err := rs.mount.Credentials.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	cfg, err := rs.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	switch {
	case cred == nil:
		first, failed := rs.acceptFirst(ctx, cfg, ask)
		if failed != nil {
			return nil, failed
		}
		done, failed := rs.rotations.storeFirst(ctx, model.NewRotation(name, r, nil, rs.mount.Now()), first)
		if failed != nil {
			return nil, failed
		}
		return slices.Concat(first.Warnings(), done.Warnings, rs.environmentWarnings(ctx, cfg, r.Environment, first)), nil
	case cred.APIToken() != supplied:
		return nil, model.UserErrorf("role %s already has another token: replace it with: %s; nothing was changed",
			name, rs.mount.Commands().BringToken(name))
	case cred.Verified() || !ask.Verify:
		return nil, nil
	}
	if err = rs.owners.CheckFree(ctx, cred.Token, name, true); err != nil {
		return nil, err
	}
	proven, err := rs.owners.AcceptWithin(ctx, cfg, cred.Token, true)
	if err != nil {
		return nil, err
	}
	if err = proven.CheckNotCreatedByMount(ask.Force); err != nil {
		return nil, err
	}
	after := *cred
	after.Token, after.RejectedSince = proven, time.Time{}
	return nil, rs.owners.Assign(ctx, proven, name, func() error { return rs.mount.Credentials.Put(ctx, name, &after) })
}

// acceptFirst checks a supplied token ID and secret, and returns the token if it may become the role's first token.
func (rs *Roles) acceptFirst(ctx context.Context, cfg *model.Config, ask model.RoleWrite) (model.Token, error) {
	supplied := model.UnverifiedToken(*ask.Token, cfg.ServerURL)
	if err := rs.owners.CheckFree(ctx, supplied, ask.Name, ask.Verify); err != nil {
		return model.Token{}, err
	}
	first, err := rs.owners.AcceptWithin(ctx, cfg, supplied, ask.Verify)
	if err != nil {
		return model.Token{}, err
	}
	return first, first.CheckNotCreatedByMount(ask.Force)
}

// environmentWarnings warns of an environment that does not exist in the token's workspace. It asks only with an
// admin token of that workspace. If Modal does not answer, there is no warning.
func (rs *Roles) environmentWarnings(ctx context.Context, cfg *model.Config, environment string, t model.Token) []string {
	if environment == "" || cfg.Admin == nil || !cfg.Admin.Verified() || !t.Verified() || cfg.CheckReach(t) != nil {
		return nil
	}
	client, release, err := rs.mount.Connect(cfg)
	if err != nil {
		return nil
	}
	defer release()
	brief, cancel := context.WithTimeout(ctx, state.BriefBudget)
	defer cancel()
	known, err := client.Environments(brief, cfg.Admin.APIToken())
	if err != nil || environmentIDs(known)[environment] != "" {
		return nil
	}
	return []string{fmt.Sprintf("%s; readers of the role get it as MODAL_ENVIRONMENT anyway", unknownEnvironment(environment, known))}
}
