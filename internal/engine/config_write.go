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

// Read returns the stored config. Without a stored config it returns nil.
func (cs *Configs) Read(ctx context.Context) (*model.Config, error) {
	return cs.mount.Config.Get(ctx, "")
}

// WrittenConfig is the config after a write, with warnings for the operator.
type WrittenConfig struct {
	Config   *model.Config
	Warnings []string
}

// Write changes the connection to Modal, the admin token or the limits. Its warnings name the roles and tokens that
// no longer work.
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

// chooseAdmin decides which admin token the new config has, and asks Modal about a new admin token.
func (cs *Configs) chooseAdmin(ctx context.Context, before, after *model.Config, ask model.ConfigWrite) (warnings []string, err error) {
	if ask.Token == nil {
		if err = before.CheckAdminStays(after); err == nil && ask.RemoveAdmin {
			after.SetAdmin(model.Token{}, "")
		}
		return nil, err
	}
	supplied := *ask.Token
	warnings = ask.Warnings
	same := before.Admin != nil && before.Admin.APIToken() == supplied && after.ReachesSameServer(before)
	if same && (before.State(cs.mount.Now()) == model.AdminOK || (!ask.Verify && before.Admin.Verified())) {
		return warnings, nil
	}
	proven, limitation := model.UnverifiedToken(supplied, after.ServerURL), ""
	if ask.Verify {
		proven, limitation, err = cs.verifyAdminToken(ctx, after, supplied)
	} else {
		err = cs.checkUnverified(ctx, before, after, supplied)
	}
	if err != nil {
		return nil, err
	}
	warnings = append(warnings, proven.Warnings()...)
	after.SetAdmin(proven, limitation)
	return append(warnings, after.LimitationWarnings()...), nil
}

// verifyAdminToken asks Modal who owns an admin token and whether the token can manage service users.
func (cs *Configs) verifyAdminToken(ctx context.Context, cfg *model.Config, supplied modalapi.Token) (proven model.Token, limitation string, err error) {
	t := model.UnverifiedToken(supplied, cfg.ServerURL)
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

// Delete restores the defaults of config and removes the admin token.
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

// NextStep tells an operator what to do after a write of config.
func (cs *Configs) NextStep(cfg *model.Config) string {
	return cs.mount.NotePausedIn(cfg, cs.nextStep(cfg))
}

func (cs *Configs) nextStep(cfg *model.Config) string {
	run := cs.mount.Commands()
	const staticNote = "static roles work without an admin token"
	switch cfg.State(cs.mount.Now()) {
	case model.AdminOK:
		return "create a role: " + run.CreateManaged("ci")
	case model.AdminUnverified:
		return fmt.Sprintf("verify the admin token, which managed roles need: %s; %s", run.VerifyAdmin(cfg.Admin.ID), staticNote)
	case model.AdminNone:
		return fmt.Sprintf("bring an admin token, which managed and dynamic roles need: %s; or create a static role, which needs none: %s", run.WriteAdmin(), run.CreateStatic("personal"))
	}
	return fmt.Sprintf("write another admin token, of an owner or manager of the workspace, which managed roles need: %s; %s", run.WriteAdmin(), staticNote)
}
