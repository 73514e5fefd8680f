// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Config is what was configured, nil for nothing.
func (e *Engine) Config(ctx context.Context) (*Config, error) { return e.config.Get(ctx, "") }

// ServiceUserPrefix begins the name of every service user that this mount makes.
func (e *Engine) ServiceUserPrefix() string { return e.namePrefix() }

// ConfigWritten is the config after a write, and what an operator should know of it.
type ConfigWritten struct {
	Config   *Config
	Warnings []string
}

// WriteConfig changes how Modal is reached and as whom. It tells what an operator should know of it.
func (e *Engine) WriteConfig(ctx context.Context, ask ConfigWrite) (*ConfigWritten, error) {
	unlock, err := e.lockConfig(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	stored, err := e.config.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	if err = ask.Expect.refuse("config", stored != nil); err != nil {
		return nil, err
	}
	before := cmp.Or(stored, defaults)
	after := before.merge(ask)
	warnings, err := e.settleAdmin(ctx, before, after, ask)
	if err != nil {
		return nil, err
	}
	if err = e.checkAccount(ctx, before, after, ask.Force); err != nil {
		return nil, err
	}
	if stored != nil && reflect.DeepEqual(before, after) {
		return &ConfigWritten{after, warnings}, nil
	}
	old, err := e.storeConfig(ctx, before, after, ask.Grace)
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, e.fateOfAdmin(after, old)...)
	return &ConfigWritten{after, append(warnings, e.broken(ctx, before, after)...)}, nil
}

// settleAdmin decides which admin token the new config has, and asks Modal when that one is new.
func (e *Engine) settleAdmin(ctx context.Context, before, after *Config, ask ConfigWrite) (warnings []string, err error) {
	if ask.Pair == nil {
		if err = before.keepsAdmin(after); err == nil && ask.RemoveAdmin {
			after.takeAdmin(Token{}, "")
		}
		return nil, err
	}
	pair := *ask.Pair
	warnings = ask.Warnings
	same := before.Admin != nil && before.Admin.pair() == pair && after.like(before)
	if same && (before.State(e.Now()) == AdminOK || (!ask.Verify && before.Admin.Verified())) {
		return warnings, nil
	}
	proven, limitation := unproven(pair, after.ServerURL), ""
	if ask.Verify {
		proven, limitation, err = e.proveAdmin(ctx, after, pair)
	} else {
		err = e.mayStayUnverified(ctx, before, after, pair)
	}
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, proven.warnings()...)
	after.takeAdmin(proven, limitation)
	return append(warnings, after.limits()...), nil
}

// takeAdmin replaces the admin token, or removes it. If the same token is brought again, the config keeps in
// mind that this mount made it.
func (c *Config) takeAdmin(t Token, limitation string) {
	t.Made = t.Made || (c.Admin != nil && c.Admin.ID == t.ID && c.Admin.Made)
	c.Admin, c.Limitation = nil, limitation
	if t.ID != "" {
		c.Admin = &t
	}
	c.AdminChecked, c.AdminRejected = time.Time{}, time.Time{}
}

// limits tell what will not work with the admin token.
func (c *Config) limits() []string {
	if c.Limitation == "" {
		return nil
	}
	return []string{fmt.Sprintf("admin token %s of %s cannot manage service users, so managed roles will not work, and static ones will: %s",
		c.Admin.ID, c.Admin.owner(), c.Limitation)}
}

// keepsAdmin refuses a write that changes which servers may receive the stored admin token and brings no
// admin token that the new server accepts.
func (c *Config) keepsAdmin(after *Config) error {
	if c.Admin == nil || c.like(after) {
		return nil
	}
	field := "server_url"
	if sameServer(c.ServerURL, after.ServerURL) {
		field = "ca_cert"
	}
	return Refusef("%s: the stored admin token %s is sent to no server that has not accepted it: write token_id and token_secret "+
		"of an admin token of the new server with it (remove_admin_token=true in the same write does not do); nothing was changed", field, c.Admin.ID)
}

// proveAdmin asks Modal whose an admin token is and whether it can manage service users.
func (e *Engine) proveAdmin(ctx context.Context, cfg *Config, pair modalapi.Token) (proven Token, limitation string, err error) {
	t := unproven(pair, cfg.ServerURL)
	if proven, err = e.prove(ctx, cfg, t); err == nil {
		limitation, err = e.limitation(ctx, cfg, proven)
	}
	switch modalapi.KindOf(err) {
	case modalapi.KindNone, modalapi.KindRefused:
		return proven, limitation, unchanged(t, err)
	default:
		return Token{}, "", fmt.Errorf("could not verify admin token %s with Modal: %w; nothing was changed: try again", t.ID, err)
	}
}

// DeleteConfig returns to the defaults, without an admin token.
func (e *Engine) DeleteConfig(ctx context.Context, force bool) (warnings []string, err error) {
	unlock, err := e.lockConfig(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	stored, err := e.config.Get(ctx, "")
	if err != nil || stored == nil {
		return nil, errors.Join(err, e.endWith(ctx, ""))
	}
	if err = e.checkAccount(ctx, stored, defaults, force); err != nil {
		return nil, err
	}
	if err = e.endWith(ctx, ""); err != nil {
		return nil, err
	}
	old, err := e.storeConfig(ctx, stored, defaults, nil)
	if err != nil {
		return nil, err
	}
	return append(e.fateOfAdmin(defaults, old), e.broken(ctx, stored, defaults)...), nil
}

// admin is the admin token, empty for none.
func (c *Config) admin() Token {
	if c.Admin == nil {
		return Token{}
	}
	return *c.Admin
}

func (c *Config) adminID() string { return c.admin().ID }
