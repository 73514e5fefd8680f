// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"reflect"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// Configs writes and reads config, and replaces the admin token.
type Configs struct {
	mount      *state.Mount
	owners     *state.Owners
	workspaces *state.Workspaces
	approvals  *Approvals
}

// Read is what was configured, nil for nothing.
func (cs *Configs) Read(ctx context.Context) (*model.Config, error) {
	return cs.mount.Config.Get(ctx, "")
}

// WrittenConfig is the config after a write, and what an operator should know of it.
type WrittenConfig struct {
	Config   *model.Config
	Warnings []string
}

// Write changes how Modal is reached and as whom. It tells what an operator should know of it.
func (cs *Configs) Write(ctx context.Context, ask model.ConfigWrite) (*WrittenConfig, error) {
	unlock, err := cs.mount.LockConfig(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	stored, err := cs.mount.Config.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	if err = ask.Expect.Check("config", stored != nil); err != nil {
		return nil, err
	}
	before := cmp.Or(stored, model.DefaultConfig)
	after := before.Merge(ask)
	warnings, err := cs.chooseAdmin(ctx, before, after, ask)
	if err != nil {
		return nil, err
	}
	if err = cs.checkAccount(ctx, before, after, ask.Force); err != nil {
		return nil, err
	}
	if stored != nil && reflect.DeepEqual(before, after) {
		return &WrittenConfig{after, warnings}, nil
	}
	old, err := cs.store(ctx, before, after, ask.Grace)
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, cs.oldAdminWarnings(after, old)...)
	return &WrittenConfig{after, append(warnings, cs.effects(ctx, before, after)...)}, nil
}

// chooseAdmin decides which admin token the new config has, and asks Modal when that one is new.
func (cs *Configs) chooseAdmin(ctx context.Context, before, after *model.Config, ask model.ConfigWrite) (warnings []string, err error) {
	if ask.Token == nil {
		if err = before.CheckAdminStays(after); err == nil && ask.RemoveAdmin {
			after.SetAdmin(model.Token{}, "")
		}
		return nil, err
	}
	pair := *ask.Token
	warnings = ask.Warnings
	same := before.Admin != nil && before.Admin.APIToken() == pair && after.ReachesSameServer(before)
	if same && (before.State(cs.mount.Now()) == model.AdminOK || (!ask.Verify && before.Admin.Verified())) {
		return warnings, nil
	}
	proven, limitation := model.UnverifiedToken(pair, after.ServerURL), ""
	if ask.Verify {
		proven, limitation, err = cs.verifyAdminToken(ctx, after, pair)
	} else {
		err = cs.checkUnverified(ctx, before, after, pair)
	}
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, proven.Warnings()...)
	after.SetAdmin(proven, limitation)
	return append(warnings, after.LimitationWarnings()...), nil
}

// verifyAdminToken asks Modal whose an admin token is and whether it can manage service users.
func (cs *Configs) verifyAdminToken(ctx context.Context, cfg *model.Config, pair modalapi.Token) (proven model.Token, limitation string, err error) {
	t := model.UnverifiedToken(pair, cfg.ServerURL)
	if proven, err = cs.mount.Verify(ctx, cfg, t); err == nil {
		limitation, err = cs.mount.AdminLimitation(ctx, cfg, proven)
	}
	switch modalapi.KindOf(err) {
	case modalapi.KindNone, modalapi.KindRefused:
		return proven, limitation, model.VerificationError(t, err)
	default:
		return model.Token{}, "", fmt.Errorf("could not verify admin token %s with Modal: %w; nothing was changed: try again", t.ID, err)
	}
}

// Delete returns to the defaults, without an admin token.
func (cs *Configs) Delete(ctx context.Context, force bool) (warnings []string, err error) {
	unlock, err := cs.mount.LockConfig(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	stored, err := cs.mount.Config.Get(ctx, "")
	if err != nil || stored == nil {
		return nil, errors.Join(err, cs.approvals.endWithOwner(ctx, ""))
	}
	if err = cs.checkAccount(ctx, stored, model.DefaultConfig, force); err != nil {
		return nil, err
	}
	if err = cs.approvals.endWithOwner(ctx, ""); err != nil {
		return nil, err
	}
	old, err := cs.store(ctx, stored, model.DefaultConfig, nil)
	if err != nil {
		return nil, err
	}
	return append(cs.oldAdminWarnings(model.DefaultConfig, old), cs.effects(ctx, stored, model.DefaultConfig)...), nil
}

// NextStep is what comes after a write of config.
func (cs *Configs) NextStep(cfg *model.Config) string {
	return cs.mount.WhilePaused(cfg, cs.nextStep(cfg))
}

func (cs *Configs) nextStep(cfg *model.Config) string {
	const elsewise = "static roles work as it is"
	switch cfg.State(cs.mount.Now()) {
	case model.AdminOK:
		return fmt.Sprintf("make a role: vault write %sroles/ci type=managed environment_roles=main=contributor", cs.mount.CommandPrefix())
	case model.AdminUnverified:
		return fmt.Sprintf("verify the admin token, which managed roles need: vault write %sconfig token_id=%s token_secret=-; %s", cs.mount.CommandPrefix(), cfg.Admin.ID, elsewise)
	case model.AdminNone:
		return fmt.Sprintf("%s: vault write %sroles/personal type=static token_id=… token_secret=-; managed roles need an admin token here", elsewise, cs.mount.CommandPrefix())
	}
	return fmt.Sprintf("managed roles need another admin token, of an owner or manager: vault write %sconfig token_id=… token_secret=-; %s", cs.mount.CommandPrefix(), elsewise)
}
