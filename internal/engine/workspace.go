// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"strings"
)

// knownWorkspace holds the workspaces that the mount remembers, also after the admin token or config was
// deleted. ID and Name belong to the last verified admin token. Pinned is the name in config's
// pinned_workspace, and PinnedID is the ID that a verified token first showed under that name.
type knownWorkspace struct {
	ID       string `json:"id,omitempty"`
	Name     string `json:"name,omitempty"`
	Pinned   string `json:"pinned,omitempty"`
	PinnedID string `json:"pinned_id,omitempty"`
}

func (w knownWorkspace) String() string { return fmt.Sprintf("workspace %q (%s)", w.Name, w.ID) }

// workspaceID begins the ID of every workspace at Modal.
const workspaceID = "ac-"

// pin is a workspace that tokens have to belong to. A pin without text accepts every token.
type pin struct {
	written string // the name, or the ID, that an operator wrote
	id      string // empty as long as nobody knows which workspace has the name
}

func (p pin) String() string {
	if p.id == "" || p.id == p.written {
		return p.written
	}
	return fmt.Sprintf("%s (%s)", p.written, p.id)
}

// newPin returns the pin for a name or an ID. A text that begins like an ID is never compared with a name:
// people choose the names of their workspaces.
func newPin(written string) pin {
	p := pin{written: written}
	if strings.HasPrefix(written, workspaceID) {
		p.id = written
	}
	return p
}

// accepts reports whether a verified token belongs to the pinned workspace. Once the ID is known the name
// counts no more, so that a renamed workspace breaks nothing.
func (p pin) accepts(t Token) bool {
	return p.written == "" || p.id == t.WorkspaceID || (p.id == "" && p.written == t.Workspace)
}

// refuse refuses a token outside of the pinned workspace, which no force accepts.
func (p pin) refuse(t Token, where string) error {
	switch {
	case p.written == "":
		return nil
	case !t.Verified():
		return Refusef("token %s was not verified, and only Modal knows whether it belongs to the workspace %s, which %s names: bring it with verify=true; nothing was changed",
			t.ID, p.written, where)
	case !p.accepts(t):
		return Refusef("token %s is of %s, and %s is %s, which force=true does not override: bring a token of that workspace; nothing was changed",
			t.ID, t.owner(), where, p)
	}
	return nil
}

const configPin = "config's pinned_workspace"

// pinOf is the workspace that config pins.
func (e *Engine) pinOf(ctx context.Context, cfg *Config) (pin, error) {
	p := newPin(cfg.PinnedWorkspace)
	if p.written == "" || p.id != "" {
		return p, nil
	}
	known, err := e.remembered(ctx)
	if err == nil && known.Pinned == p.written {
		p.id = known.PinnedID
	}
	return p, err
}

// PinnedWorkspaceID is the ID of the workspace that config pins, empty as long as only its name is known.
func (e *Engine) PinnedWorkspaceID(ctx context.Context, cfg *Config) (string, error) {
	p, err := e.pinOf(ctx, cfg)
	return p.id, err
}

// refuseOutside refuses a supplied or approved token that is not of the workspace that config pins.
func (e *Engine) refuseOutside(ctx context.Context, cfg *Config, t Token) error {
	p, err := e.pinOf(ctx, cfg)
	if err != nil {
		return err
	}
	return p.refuse(t, configPin)
}

// remembered returns the workspaces that the mount remembers.
func (e *Engine) remembered(ctx context.Context) (knownWorkspace, error) {
	known, err := e.workspaces.Get(ctx, "")
	if err != nil || known == nil {
		return knownWorkspace{}, err
	}
	return *known, nil
}

// lastWorkspace is the workspace of the last verified admin token, whose ID is empty for a mount that
// never had one.
func (e *Engine) lastWorkspace(ctx context.Context, cfg *Config) (knownWorkspace, error) {
	if cfg.Admin != nil && cfg.Admin.Verified() {
		return knownWorkspace{ID: cfg.Admin.WorkspaceID, Name: cfg.Admin.Workspace}, nil
	}
	return e.remembered(ctx)
}

// learn stores the workspaces that a token shows: its own, where it is the admin token, and the ID that the
// pinned name stands for. It forgets the ID of a name that config no longer pins. The caller holds e.handover.
func (e *Engine) learn(ctx context.Context, cfg *Config, t Token, admin bool) error {
	known, err := e.remembered(ctx)
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
		if p := newPin(cfg.PinnedWorkspace); p.id == "" && after.PinnedID == "" && p.written != "" && p.written == t.Workspace {
			after.Pinned, after.PinnedID = p.written, t.WorkspaceID
		}
	}
	if after == known {
		return nil
	}
	return e.workspaces.Put(ctx, "", &after)
}

// learnFromRole is learn for a role's token. A failure does not fail the write: the next token shows the same.
func (e *Engine) learnFromRole(ctx context.Context, t Token) {
	cfg, err := e.loadConfig(ctx)
	if err == nil {
		err = e.learn(ctx, cfg, t, false)
	}
	if err != nil {
		e.log().Warn("which workspace config pins is not stored", "error", err)
	}
}
