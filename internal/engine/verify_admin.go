// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"maps"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// checkRetry is how long after a failure Modal is asked about a current token again.
const checkRetry = 10 * time.Minute

// verifyAdmin asks about the admin token, once an interval: whether Modal accepts it, and whether it still manages
// service users. A rejected or limited one shows in config and status.
func (vf *Verifier) verifyAdmin(ctx context.Context) error {
	cfg, err := vf.mount.LoadConfig(ctx)
	if err != nil || !cfg.AdminCheckDue(vf.mount.Now()) || vf.mount.Now().Before(vf.retryCheck(model.AdminName)) {
		return err
	}
	unlock, err := vf.mount.LockConfig(ctx)
	if err != nil {
		return nil // config is being written, and is looked at by the next tick
	}
	defer unlock()
	if cfg, err = vf.mount.LoadConfig(ctx); err != nil || !cfg.AdminCheckDue(vf.mount.Now()) {
		return err
	}
	after := *cfg
	after.AdminChecked, after.AdminRejected = vf.mount.Now(), time.Time{}
	limitation := ""
	proven, err := vf.mount.Verify(ctx, cfg, *cfg.Admin)
	if err == nil {
		limitation, err = vf.mount.AdminLimitation(ctx, cfg, proven)
	}
	switch kind := modalapi.KindOf(err); {
	case err == nil:
		vf.recordAdmin(&after, proven, limitation)
	case kind == modalapi.KindRefused:
		if after.AdminRejected = cfg.AdminRejected; after.AdminRejected.IsZero() {
			after.AdminRejected = vf.mount.Now()
			vf.mount.Log().Error("modal refuses the admin token", "token_id", cfg.Admin.ID, "modal_said", modalapi.Said(err))
			vf.mount.Publish(ctx, model.Event{Kind: model.EventTokenRejected, TokenID: cfg.Admin.ID, Account: cfg.Admin.Account()})
		}
	default:
		vf.postponeCheck(model.AdminName)
		return nil
	}
	return vf.mount.Config.Put(ctx, "", &after)
}

// recordAdmin notes what Modal says of the admin token, and tells what changed.
func (vf *Verifier) recordAdmin(c *model.Config, proven model.Token, limitation string) {
	switch {
	case limitation != "" && c.Limitation == "":
		vf.mount.Log().Warn("the admin token cannot manage service users any more", "token_id", c.Admin.ID, "reason", limitation, "next_step", vf.mount.WriteAdmin())
	case limitation == "" && c.Limitation != "":
		vf.mount.Log().Info("the admin token can manage service users again", "token_id", c.Admin.ID)
	}
	admin := *c.Admin
	if !proven.ExpiresAt.Equal(admin.ExpiresAt) {
		vf.mount.Log().Warn("modal reports another expiry of the admin token", "token_id", admin.ID, "expires_at", proven.ExpiresAt, "expires_at_before", admin.ExpiresAt)
	}
	admin.ExpiresAt = proven.ExpiresAt
	if admin.ReceivedInTheFuture(vf.mount.Now()) {
		admin.ClockOffset = 0
	}
	c.Admin, c.Limitation = &admin, limitation
}

// retryCheck is not before when Modal is asked again about a role's token, or the admin's, after it gave
// no answer. It is remembered by this process alone: another one may ask at once.
func (vf *Verifier) retryCheck(name string) time.Time {
	vf.mu.Lock()
	defer vf.mu.Unlock()
	at := vf.retries[name]
	if at.After(vf.mount.Now().Add(checkRetry)) { // by a clock far ahead
		return time.Time{}
	}
	return at
}

func (vf *Verifier) postponeCheck(name string) {
	vf.mu.Lock()
	defer vf.mu.Unlock()
	vf.retries[name] = vf.mount.Now().Add(checkRetry/2 + vf.mount.Jitter(checkRetry/2))
	vf.mount.DueVerifications.Touch(name)
}

// forgetRetries drops those whose time has come, once a tick: while Modal is down there is one of each role.
func (vf *Verifier) forgetRetries() {
	vf.mu.Lock()
	defer vf.mu.Unlock()
	maps.DeleteFunc(vf.retries, func(_ string, at time.Time) bool { return at.Before(vf.mount.Now()) })
}
