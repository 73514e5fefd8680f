// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// verifyDue asks about the tokens that were not asked about for an interval, and heals what drifted.
func (vf *Verifier) verifyDue(tick, begin context.Context) error {
	cfg, err := vf.mount.LoadConfig(begin)
	if err != nil {
		return err
	}
	vf.forgetRetries()
	if vf.interval != cfg.VerificationEvery() { // all times are others now
		vf.mount.DueVerifications.Reset()
		vf.interval = cfg.VerificationEvery()
	}
	due, err := vf.mount.DueVerifications.Due(begin, vf.mount.Now(), state.DueSource{
		List: func(ctx context.Context) ([]string, error) { return vf.mount.Roles.List(ctx) },
		Next: func(ctx context.Context, name string) (time.Time, error) {
			now, failed := vf.mount.Rotation(ctx, name)
			if failed != nil || now == nil || now.Role.Dynamic != nil {
				return time.Time{}, failed
			}
			if now.NeedsRolesSet() {
				return model.Later(vf.mount.Now(), vf.retryCheck(name)), nil
			}
			return model.Later(cfg.CheckAt(now, vf.mount.Now()), vf.retryCheck(name)), nil
		},
		Failed: func(name string, err error) {
			vf.mount.Log().Error("cannot tell when a role is verified", "role", name, "error", err)
		},
	})
	if begin.Err() != nil {
		return nil //nolint:nilerr // rotations took the time of this tick, and the next one has time again
	}
	return errors.Join(err, vf.mount.UntilOver(begin, due, state.MaxConcurrentChecks, func(name string) error { return vf.verifyOne(tick, begin, cfg, name) }))
}

// verifyOne asks about one role, if it is still due once its lock is held. That Modal does not answer is no
// news of the token: it is asked again a little later.
func (vf *Verifier) verifyOne(ctx, begin context.Context, cfg *model.Config, name string) error {
	unlock, err := vf.mount.LockRole(begin, name)
	if err != nil {
		return nil // the role is busy, and due at the next tick too
	}
	defer unlock()
	now, err := vf.mount.Rotation(ctx, name)
	if err != nil || now == nil || now.HasNoToken() || now.Role.Dynamic != nil {
		return err
	}
	if at := cfg.CheckAt(now, vf.mount.Now()); !now.NeedsRolesSet() && (at.IsZero() || at.After(vf.mount.Now())) {
		return nil
	}
	v, err := vf.ask(ctx, cfg, now)
	if err != nil {
		return vf.recordFailure(now, "a role's token could not be verified", err)
	}
	// That Modal accepts the token is news in any case. A node that leads no more cannot write that, and sets no
	// roles of a policy that is not the role's any more.
	if err = vf.record(ctx, now, v); err != nil || !v.Accepted || (!v.RolesDiffer && !now.Cred.RolesDiffer) {
		return err
	}
	if err = vf.setRolesAgain(ctx, cfg, now, v); err != nil {
		return vf.recordFailure(now, "environment roles differ and could not be set again", err)
	}
	return vf.recordRolesSet(ctx, name)
}

// recordFailure has Modal asked again a little later.
func (vf *Verifier) recordFailure(now *model.Rotation, what string, why error) error {
	if model.IsStorageError(why) {
		return why
	}
	vf.mount.Log().Warn(what, "role", now.Name, "token_id", now.Cred.ID, "error", why)
	vf.postponeCheck(now.Name)
	return nil
}

// setRolesAgain gives the role's tokens the rights of the role, as far as config allows them. Somebody else took or added
// rights, or Modal did not show a write. Previous tokens only lose rights. An error says why the roles still differ.
func (vf *Verifier) setRolesAgain(ctx context.Context, cfg *model.Config, now *model.Rotation, v *model.Verification) error {
	roles := now.Role.Managed.EnvironmentRoles
	wanted := cfg.Within(roles)
	previous, err := vf.mount.PreviousTokens(ctx, now.Name)
	if err != nil {
		return err
	}
	current := model.RoleChange{Want: model.Exactly(wanted)}
	if !v.RolesDiffer { // a write, which Modal did not show, has set them
		current.Always = model.AllOf(wanted)
	}
	changed, err := vf.rights.change(ctx, cfg, now.Cred.Token, current)
	if err != nil {
		return vf.rights.explainGone(err, now.Name)
	}
	set, kept := vf.rights.narrowPrevious(ctx, cfg, now.Cred, previous, model.RoleChange{Want: model.AtMost(wanted)})
	if changed {
		set = append(set, changedUser{token: now.Cred.Token, want: current.Want})
	}
	if changed && v.RolesDiffer {
		vf.mount.Log().Warn("environment roles differed and were set again", "role", now.Name, "service_user", now.Cred.Identity,
			"environment_roles", model.RolesText(wanted), "environment_roles_before", model.RolesText(v.Roles))
	}
	for _, user := range vf.rights.readBack(ctx, cfg, set) {
		kept = append(kept, model.UserErrorf("%s", user.notShown()))
	}
	return errors.Join(append(kept, cfg.CheckRole(now.Role))...)
}

// recordRolesSet stores that the tokens of a role have the rights of the role. The caller holds the role's lock.
func (vf *Verifier) recordRolesSet(ctx context.Context, name string) error {
	cred, err := vf.mount.Credentials.Get(ctx, name)
	if err != nil || cred == nil {
		return err
	}
	after := *cred
	after.RolesDiffer = false
	return vf.mount.Credentials.Put(ctx, name, &after)
}
