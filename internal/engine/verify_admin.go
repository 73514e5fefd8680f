// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"maps"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// checkRetry is the time between a failure and the next question to Modal about a current token.
const checkRetry = 10 * time.Minute

// verifyAdmin asks Modal once an interval whether it accepts the admin token, and whether the admin token still
// manages service users. A rejected or limited admin token shows in config and status.
func (vf *Verifier) verifyAdmin(ctx context.Context) error {
	cfg, err := vf.mount.LoadConfig(ctx)
	if err != nil || !cfg.AdminCheckDue(vf.mount.Now()) || vf.mount.Now().Before(vf.retryCheck(model.AdminName)) {
		return err
	}
	unlock, err := vf.mount.LockConfig(ctx)
	if err != nil {
		return nil // a write of config is running, and the next tick verifies
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
			vf.mount.Log().Error("modal rejects the admin token", "token_id", cfg.Admin.ID, "modal_said", modalapi.Said(err))
			vf.mount.Publish(ctx, model.Event{Kind: model.EventTokenRejected, TokenID: cfg.Admin.ID, Account: cfg.Admin.Account()})
		}
	default:
		vf.postponeCheck(model.AdminName)
		return nil
	}
	return vf.mount.Config.Put(ctx, "", &after)
}

// recordAdmin puts Modal's answer about the admin token into c, and logs what changed.
func (vf *Verifier) recordAdmin(c *model.Config, proven model.Token, limitation string) {
	switch {
	case limitation != "" && c.Limitation == "":
		vf.mount.Log().Warn("the admin token cannot manage service users any more", "token_id", c.Admin.ID, "reason", limitation, "next_step", vf.mount.Commands().WriteAdmin())
	case limitation == "" && c.Limitation != "":
		vf.mount.Log().Info("the admin token can manage service users again", "token_id", c.Admin.ID)
	}
	admin := c.Admin.WithPossibleOffset(vf.mount.Now())
	if !proven.ExpiresAt.Equal(admin.ExpiresAt) {
		vf.mount.Log().Warn("modal reports another expiry of the admin token", "token_id", admin.ID, "expires_at", proven.ExpiresAt, "expires_at_before", admin.ExpiresAt)
	}
	admin.ExpiresAt = proven.ExpiresAt
	c.Admin, c.Limitation = &admin, limitation
}

// retryCheck returns the time before which Modal is not asked again about the token of a role or of config, after it
// did not answer. Only this process remembers the time.
func (vf *Verifier) retryCheck(name string) time.Time {
	vf.mu.Lock()
	defer vf.mu.Unlock()
	return vf.retries[name]
}

// postponeCheck delays the next question about a token.
func (vf *Verifier) postponeCheck(name string) {
	vf.mu.Lock()
	defer vf.mu.Unlock()
	vf.retries[name] = vf.mount.Now().Add(checkRetry/2 + vf.mount.Jitter(checkRetry/2))
	vf.mount.DueVerifications.Touch(name)
}

// forgetRetries removes, once a tick, the times that are over, and those that a clock far ahead has set. While Modal
// does not answer, there is a time for each role.
func (vf *Verifier) forgetRetries() {
	vf.mu.Lock()
	defer vf.mu.Unlock()
	now := vf.mount.Now()
	maps.DeleteFunc(vf.retries, func(_ string, at time.Time) bool { return at.Before(now) || at.After(now.Add(checkRetry)) })
}
