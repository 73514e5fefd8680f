// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"

	"vault-plugin-secrets-modal/internal/model"
)

// Workspaces knows the workspaces that the mount's tokens must belong to: the pinned workspace, and that of the last
// admin token.
type Workspaces struct{ mount *Mount }

// NewWorkspaces returns the workspaces of a mount.
func NewWorkspaces(m *Mount) *Workspaces { return &Workspaces{mount: m} }

// ConfigPin names the setting in messages.
const ConfigPin = "config's pinned_workspace"

// pinOf returns the workspace that config pins.
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

// PinnedID returns the ID of the workspace that config pins. It is empty while only the workspace's name is known.
func (w *Workspaces) PinnedID(ctx context.Context, cfg *model.Config) (string, error) {
	p, err := w.pinOf(ctx, cfg)
	return p.ID, err
}

// CheckPinned refuses a supplied or approved token that does not belong to the workspace that config pins.
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

// Last returns the workspace of the last verified admin token. Its ID is empty if the mount never had a verified
// admin token.
func (w *Workspaces) Last(ctx context.Context, cfg *model.Config) (model.KnownWorkspaces, error) {
	if cfg.Admin != nil && cfg.Admin.Verified() {
		return model.KnownWorkspaces{ID: cfg.Admin.WorkspaceID, Name: cfg.Admin.Workspace}, nil
	}
	return w.remembered(ctx)
}

// Learn stores the workspaces that a verified token shows: the admin token's own workspace, and the ID of the
// workspace that config pins by name. If config pins another name now, it forgets the old ID. The caller must have
// Owners.AssignMu locked.
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

// LearnFromRole is Learn for a role's token. Its failure does not fail the write, because the next token shows the
// same ID.
func (w *Workspaces) LearnFromRole(ctx context.Context, t model.Token) {
	cfg, err := w.mount.LoadConfig(ctx)
	if err == nil {
		err = w.Learn(ctx, cfg, t, false)
	}
	if err != nil {
		w.mount.Log().Warn("could not store the id of the pinned workspace", "error", err)
	}
}
