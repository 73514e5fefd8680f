// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"

	"vault-plugin-secrets-modal/internal/model"
)

// Workspaces are the workspaces that the mount's tokens belong to: the pinned one, and the one that it knew last.
type Workspaces struct{ mount *Mount }

// NewWorkspaces returns the workspaces of a mount.
func NewWorkspaces(m *Mount) *Workspaces { return &Workspaces{mount: m} }

// ConfigPin names the setting in messages.
const ConfigPin = "config's pinned_workspace"

// pinOf is the workspace that config pins.
func (w *Workspaces) pinOf(ctx context.Context, cfg *model.Config) (model.Pin, error) {
	p := model.NewPin(cfg.PinnedWorkspace)
	if p.Written == "" || p.ID != "" {
		return p, nil
	}
	known, err := w.remembered(ctx)
	if err == nil && known.Pinned == p.Written {
		p.ID = known.PinnedID
	}
	return p, err
}

// PinnedID is the ID of the workspace that config pins, empty as long as only its name is known.
func (w *Workspaces) PinnedID(ctx context.Context, cfg *model.Config) (string, error) {
	p, err := w.pinOf(ctx, cfg)
	return p.ID, err
}

// CheckPinned refuses a supplied or approved token that is not of the workspace that config pins.
func (w *Workspaces) CheckPinned(ctx context.Context, cfg *model.Config, t model.Token) error {
	p, err := w.pinOf(ctx, cfg)
	if err != nil {
		return err
	}
	return p.Check(t, ConfigPin)
}

// remembered returns the workspaces that the mount remembers.
func (w *Workspaces) remembered(ctx context.Context) (model.KnownWorkspaces, error) {
	known, err := w.mount.Workspaces.Get(ctx, "")
	if err != nil || known == nil {
		return model.KnownWorkspaces{}, err
	}
	return *known, nil
}

// Last is the workspace of the last verified admin token, whose ID is empty for a mount that
// never had one.
func (w *Workspaces) Last(ctx context.Context, cfg *model.Config) (model.KnownWorkspaces, error) {
	if cfg.Admin != nil && cfg.Admin.Verified() {
		return model.KnownWorkspaces{ID: cfg.Admin.WorkspaceID, Name: cfg.Admin.Workspace}, nil
	}
	return w.remembered(ctx)
}

// Learn stores the workspaces that a token shows: its own, where it is the admin token, and the ID that the
// pinned name stands for. It forgets the ID of a name that config no longer pins. The caller holds e.handover.
func (w *Workspaces) Learn(ctx context.Context, cfg *model.Config, t model.Token, admin bool) error {
	known, err := w.remembered(ctx)
	if err != nil {
		return err
	}
	after := known
	if after.Pinned != cfg.PinnedWorkspace {
		after.Pinned, after.PinnedID = "", ""
	}
	if t.Verified() {
		if admin {
			after.ID, after.Name = t.WorkspaceID, t.Workspace
		}
		if p := model.NewPin(cfg.PinnedWorkspace); p.ID == "" && after.PinnedID == "" && p.Written != "" && p.Written == t.Workspace {
			after.Pinned, after.PinnedID = p.Written, t.WorkspaceID
		}
	}
	if after == known {
		return nil
	}
	return w.mount.Workspaces.Put(ctx, "", &after)
}

// LearnFromRole is learn for a role's token. A failure does not fail the write: the next token shows the same.
func (w *Workspaces) LearnFromRole(ctx context.Context, t model.Token) {
	cfg, err := w.mount.LoadConfig(ctx)
	if err == nil {
		err = w.Learn(ctx, cfg, t, false)
	}
	if err != nil {
		w.mount.Log().Warn("which workspace config pins is not stored", "error", err)
	}
}
