// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"strings"
)

// KnownWorkspaces holds the workspaces that the mount remembers, also after the admin token or config was deleted.
type KnownWorkspaces struct {
	// ID is the ID of the workspace of the last verified admin token.
	ID string `json:"id,omitempty"`
	// Name is the name of that workspace.
	Name string `json:"name,omitempty"`
	// Pinned is the name in config's pinned_workspace.
	Pinned string `json:"pinned,omitempty"`
	// PinnedID is the ID that the pinned name stands for. The first verified token of a workspace with this name
	// shows the ID.
	PinnedID string `json:"pinned_id,omitempty"`
}

func (w KnownWorkspaces) String() string { return fmt.Sprintf("workspace %q (%s)", w.Name, w.ID) }

// workspaceIDPrefix begins the ID of every workspace at Modal.
const workspaceIDPrefix = "ac-"

// Pin is a workspace that tokens must belong to. An empty pin accepts every token.
type Pin struct {
	Written string // the name or the ID that an operator wrote
	ID      string // empty while the ID of the named workspace is not known
}

func (p Pin) String() string {
	if p.ID == "" || p.ID == p.Written {
		return p.Written
	}
	return fmt.Sprintf("%s (%s)", p.Written, p.ID)
}

// NewPin returns the pin for a name or an ID. People choose the names of their workspaces, so a text that begins like
// an ID is never compared with a name.
func NewPin(written string) Pin {
	p := Pin{Written: written}
	if strings.HasPrefix(written, workspaceIDPrefix) {
		p.ID = written
	}
	return p
}

// Accepts reports whether a verified token belongs to the pinned workspace. Once the ID is known, the name no longer
// counts, so that a renamed workspace breaks nothing.
func (p Pin) Accepts(t Token) bool {
	return p.Written == "" || p.ID == t.WorkspaceID || (p.ID == "" && p.Written == t.Workspace)
}

// Check refuses a token outside the pinned workspace, even with force.
func (p Pin) Check(t Token, where string) error {
	switch {
	case p.Written == "":
		return nil
	case !t.Verified():
		return UserErrorf("token %s was not verified, and only Modal knows whether it belongs to workspace %s, which %s names: bring the token with verify=true; nothing was changed",
			t.ID, p.Written, where)
	case !p.Accepts(t):
		return UserErrorf("token %s belongs to %s, but %s is %s, and force=true does not override that: bring a token of the pinned workspace; nothing was changed",
			t.ID, t.DescribeOwner(), where, p)
	}
	return nil
}
