// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// verifyDue verifies the tokens whose last verification is an interval old, and sets environment roles again that
// differ.
func (vf *Verifier) verifyDue(tick, begin context.Context) error {
	cfg, err := vf.mount.LoadConfig(begin)
	if err != nil {
		return err
	}
	vf.forgetRetries()
	if vf.interval != cfg.VerificationEvery() { // compute all times again
		vf.mount.DueVerifications.Reset()
		vf.interval = cfg.VerificationEvery()
	}
	due, err := vf.mount.DueVerifications.Due(begin, vf.mount.Now(), state.DueSource{
		List: func(ctx context.Context) ([]string, error) { return vf.mount.Roles.List(ctx) },
		Next: func(ctx context.Context, name string) (time.Time, error) {
			rotation, failed := vf.mount.Rotation(ctx, name)
			if failed != nil || rotation == nil || rotation.Role.Dynamic != nil {
				return time.Time{}, failed
			}
			if rotation.NeedsRolesSet() {
				return model.Later(vf.mount.Now(), vf.retryCheck(name)), nil
			}
			return model.Later(cfg.CheckAt(rotation, vf.mount.Now()), vf.retryCheck(name)), nil
		},
		Failed: func(name string, err error) {
			vf.mount.Log().Error("the next verification of a role cannot be read", "role", name, "error", err)
		},
	})
	if begin.Err() != nil {
		return nil //nolint:nilerr // rotations took the time of this tick; the next tick verifies
	}
	return errors.Join(err, vf.mount.UntilOver(begin, due, state.MaxConcurrentChecks, func(name string) error { return vf.verifyOne(tick, begin, cfg, name) }))
}

// verifyOne verifies the token of one role if it is still due after its lock was taken. If Modal does not answer, the
// stored state does not change, and the engine asks again later.
func (vf *Verifier) verifyOne(ctx, begin context.Context, cfg *model.Config, name string) error {
	unlock, err := vf.mount.LockRole(begin, name)
	if err != nil {
		return nil // the role is busy, and due at the next tick too
	}
	defer unlock()
	rotation, err := vf.mount.Rotation(ctx, name)
	if err != nil || rotation == nil || rotation.HasNoToken() || rotation.Role.Dynamic != nil {
		return err
	}
	if at := cfg.CheckAt(rotation, vf.mount.Now()); !rotation.NeedsRolesSet() && (at.IsZero() || at.After(vf.mount.Now())) {
		return nil
	}
	v, err := vf.ask(ctx, cfg, rotation)
	if err != nil {
		return vf.recordFailure(rotation, "a role's token could not be verified", err)
	}
	// Store the answer before setting roles. A node that is no longer active cannot write, and so cannot set the roles of
	// outdated settings.
	if err = vf.record(ctx, rotation, v); err != nil || !v.Accepted || (!v.RolesDiffer && !rotation.Cred.RolesDiffer) {
		return err
	}
	if err = vf.setRolesAgain(ctx, cfg, rotation, v); err != nil {
		return vf.recordFailure(rotation, "environment roles differ and could not be set again", err)
	}
	return vf.recordRolesSet(ctx, name)
}

// recordFailure logs a failure and delays the next question to Modal.
func (vf *Verifier) recordFailure(rotation *model.Rotation, what string, why error) error {
	if model.IsStorageError(why) {
		return why
	}
	vf.mount.Log().Warn(what, "role", rotation.Name, "token_id", rotation.Cred.ID, "error", why)
	vf.postponeCheck(rotation.Name)
	return nil
}

// setRolesAgain gives the role's tokens the rights of the role, within the limits of config. The rights differ
// because somebody changed them at Modal, or because Modal did not show an earlier write. Previous tokens only lose
// rights. An error says why the roles still differ.
func (vf *Verifier) setRolesAgain(ctx context.Context, cfg *model.Config, rotation *model.Rotation, v *model.Verification) error {
	roles := rotation.Role.Managed.EnvironmentRoles
	wanted := cfg.Within(roles)
	previous, err := vf.mount.PreviousTokens(ctx, rotation.Name)
	if err != nil {
		return err
	}
	current := model.RoleChange{Want: model.Exactly(wanted)}
	if !v.RolesDiffer { // an earlier write set them, and Modal did not show it
		current.Always = model.AllOf(wanted)
	}
	changed, err := vf.rights.change(ctx, cfg, rotation.Cred.Token, current)
	if err != nil {
		return vf.rights.explainGone(err, rotation.Name)
	}
	set, kept := vf.rights.narrowPrevious(ctx, cfg, rotation.Cred, previous, model.RoleChange{Want: model.AtMost(wanted)})
	if changed {
		set = append(set, changedUser{token: rotation.Cred.Token, want: current.Want})
	}
	if changed && v.RolesDiffer {
		vf.mount.Log().Warn("environment roles differed and were set again", "role", rotation.Name, "service_user", rotation.Cred.Identity,
			"environment_roles", model.RolesText(wanted), "environment_roles_before", model.RolesText(v.Roles))
	}
	for _, user := range vf.rights.readBack(ctx, cfg, set) {
		kept = append(kept, model.UserErrorf("%s", vf.rights.notShown(cfg, user)))
	}
	return errors.Join(append(kept, cfg.CheckRole(rotation.Role))...)
}

// recordRolesSet stores that the role's tokens have the rights of the role. The caller holds the role's lock.
func (vf *Verifier) recordRolesSet(ctx context.Context, name string) error {
	cred, err := vf.mount.Credentials.Get(ctx, name)
	if err != nil || cred == nil {
		return err
	}
	after := *cred
	after.RolesDiffer = false
	return vf.mount.Credentials.Put(ctx, name, &after)
}
