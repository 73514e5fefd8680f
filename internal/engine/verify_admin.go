// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"maps"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// checkRetry is how long after a failure Modal is asked about a current token again.
const checkRetry = 10 * time.Minute

// verifyAdmin asks about the admin token, once an interval: whether Modal accepts it, and whether it still manages
// service users. A rejected or limited one shows in config and status.
func (e *Engine) verifyAdmin(ctx context.Context) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil || !cfg.adminDue(e.Now()) || e.Now().Before(e.retryCheck(adminName)) {
		return err
	}
	unlock, err := e.lockConfig(ctx)
	if err != nil {
		return nil // config is being written, and is looked at by the next tick
	}
	defer unlock()
	if cfg, err = e.loadConfig(ctx); err != nil || !cfg.adminDue(e.Now()) {
		return err
	}
	after := *cfg
	after.AdminChecked, after.AdminRejected = e.Now(), time.Time{}
	limitation := ""
	proven, err := e.prove(ctx, cfg, *cfg.Admin)
	if err == nil {
		limitation, err = e.limitation(ctx, cfg, proven)
	}
	switch kind := modalapi.KindOf(err); {
	case err == nil:
		e.learnOfAdmin(&after, proven, limitation)
	case kind == modalapi.KindRefused:
		if after.AdminRejected = cfg.AdminRejected; after.AdminRejected.IsZero() {
			after.AdminRejected = e.Now()
			e.log().Error("modal refuses the admin token", "token_id", cfg.Admin.ID, "modal_said", modalapi.Said(err))
			e.event(ctx, Event{Kind: EventTokenRejected, TokenID: cfg.Admin.ID})
		}
	default:
		e.postponeCheck(adminName)
		return nil
	}
	return e.config.Put(ctx, "", &after)
}

// learnOfAdmin notes what Modal says of the admin token, and tells what changed.
func (e *Engine) learnOfAdmin(c *Config, proven Token, limitation string) {
	switch {
	case limitation != "" && c.Limitation == "":
		e.log().Warn("the admin token cannot manage service users any more", "token_id", c.Admin.ID, "reason", limitation, "next_step", e.writeAdmin())
	case limitation == "" && c.Limitation != "":
		e.log().Info("the admin token can manage service users again", "token_id", c.Admin.ID)
	}
	admin := *c.Admin
	if !proven.ExpiresAt.Equal(admin.ExpiresAt) {
		e.log().Warn("modal reports another expiry of the admin token", "token_id", admin.ID, "expires_at", proven.ExpiresAt, "expires_at_before", admin.ExpiresAt)
	}
	admin.ExpiresAt = proven.ExpiresAt
	if admin.receivedAhead(e.Now()) {
		admin.ClockOffset = 0
	}
	c.Admin, c.Limitation = &admin, limitation
}

// adminDue says whether the admin token was not asked about for an interval.
func (c *Config) adminDue(now time.Time) bool {
	interval := c.VerificationEvery()
	if c.Admin == nil || !c.Admin.Verified() || interval == 0 {
		return false
	}
	if !c.AdminRejected.IsZero() || c.Limitation != "" { // a person may have enabled or promoted it again
		interval = min(interval, refusedCheck)
	}
	return now.Sub(lastKnown(now, c.AdminChecked, c.Admin.LastVerified)) >= interval-checkAhead
}

// retryCheck is not before when Modal is asked again about a role's token, or the admin's, after it gave
// no answer. It is remembered by this process alone: another one may ask at once.
func (e *Engine) retryCheck(name string) time.Time {
	e.checks.Lock()
	defer e.checks.Unlock()
	at := e.checkRetries[name]
	if at.After(e.Now().Add(checkRetry)) { // by a clock far ahead
		return time.Time{}
	}
	return at
}

func (e *Engine) postponeCheck(name string) {
	e.checks.Lock()
	defer e.checks.Unlock()
	e.checkRetries[name] = e.Now().Add(checkRetry/2 + jitter(checkRetry/2))
	e.dueChecks.touch(name)
}

// forgetRetries drops those whose time has come, once a tick: while Modal is down there is one of each role.
func (e *Engine) forgetRetries() {
	e.checks.Lock()
	defer e.checks.Unlock()
	maps.DeleteFunc(e.checkRetries, func(_ string, at time.Time) bool { return at.Before(e.Now()) })
}
