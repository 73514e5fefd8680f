// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// expiryWarner warns before current tokens expire.
type expiryWarner struct {
	mount *state.Mount

	mu sync.Mutex
	// given is the last warning for each role.
	given map[string]model.ExpiryStage
}

// isNew records a warning, and reports whether it is new. Only this process remembers the warning, so it comes once
// more after a restart.
func (ew *expiryWarner) isNew(name string, due model.ExpiryStage) bool {
	ew.mu.Lock()
	defer ew.mu.Unlock()
	if due == ew.given[name] {
		return false
	}
	if ew.given[name] = due; due.Reached == 0 {
		delete(ew.given, name)
	}
	return due.Reached > 0
}

// lastGiven returns the last warning for a token. It removes a warning for another token or another expiry.
func (ew *expiryWarner) lastGiven(name string, t model.Token) model.ExpiryStage {
	ew.mu.Lock()
	defer ew.mu.Unlock()
	last := ew.given[name]
	if last.TokenID != t.ID || !last.Expiry.Equal(t.LocalExpiry()) {
		delete(ew.given, name)
		return model.ExpiryStage{}
	}
	return last
}

// warn logs and sends an event when a token comes within 30, 7 and 1 days of its expiry and the engine does not
// replace it. Each warning comes once, and once more after a restart. Roles that cannot be checked before begin ends
// wait for the next tick.
func (ew *expiryWarner) warn(ctx, begin context.Context) error {
	return errors.Join(ew.warnOfAdmin(ctx), ew.warnOfRoles(ctx, begin))
}

func (ew *expiryWarner) warnOfAdmin(ctx context.Context) error {
	cfg, err := ew.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	due := model.ExpiryStage{}
	if ew.mount.AdminExpiryWarning(cfg) != "" {
		due = model.ExpiryStageOf(*cfg.Admin, ew.mount.Now())
	}
	if ew.isNew(model.AdminName, due) {
		ew.mount.Log().Warn("admin token expires", "token_id", cfg.Admin.ID, "expires_at", cfg.Admin.ExpiresAt, "next_step", ew.mount.Commands().WriteAdmin())
		ew.mount.Publish(ctx, model.Event{Kind: model.EventExpiryWarning, TokenID: cfg.Admin.ID, Account: cfg.Admin.Account()})
	}
	return nil
}

// warnOfRoles warns before the current tokens of roles expire.
func (ew *expiryWarner) warnOfRoles(ctx, begin context.Context) error {
	due, err := ew.mount.DueWarnings.Due(begin, ew.mount.Now(), state.DueSource{
		List: func(ctx context.Context) ([]string, error) { return ew.mount.Roles.List(ctx) },
		Next: func(ctx context.Context, name string) (time.Time, error) {
			r, err := ew.mount.Rotation(ctx, name)
			if err != nil || r == nil {
				ew.lastGiven(name, model.Token{})
				return time.Time{}, err
			}
			return r.WarnAt(ew.lastGiven(name, r.Cred.Token)), nil
		},
		Failed: func(name string, err error) {
			ew.mount.Log().Error("the expiry of a role's token cannot be read", "role", name, "error", err)
		},
	})
	if begin.Err() != nil {
		return nil //nolint:nilerr // the next tick has time again
	}
	for _, name := range due {
		ew.mount.DueWarnings.Touch(name)
		r, failed := ew.mount.Rotation(ctx, name)
		if failed != nil || r == nil {
			err = errors.Join(err, failed)
			continue
		}
		if r.Expiring(ew.mount.Now()) && ew.isNew(name, model.ExpiryStageOf(r.Cred.Token, ew.mount.Now())) {
			ew.mount.Log().Warn("a role's token expires", "role", name, "type", r.Role.Type, "version", r.Cred.Version, "token_id", r.Cred.ID,
				"expires_at", r.Cred.ExpiresAt, "next_step", ew.mount.Commands().ReplaceToken(r.Role, name))
			ew.mount.Publish(ctx, model.Event{Kind: model.EventExpiryWarning, Role: name, Version: r.Cred.Version, TokenID: r.Cred.ID, Account: r.Cred.Account()})
		}
	}
	return err
}
