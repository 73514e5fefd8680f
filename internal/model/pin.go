// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"strings"
)

// KnownWorkspaces holds the workspaces that the mount remembers, also after the admin token or config was
// deleted. ID and Name belong to the last verified admin token. Pinned is the name in config's
// pinned_workspace, and PinnedID is the ID that a verified token first showed under that name.
type KnownWorkspaces struct {
	ID       string `json:"id,omitempty"`
	Name     string `json:"name,omitempty"`
	Pinned   string `json:"pinned,omitempty"`
	PinnedID string `json:"pinned_id,omitempty"`
}

func (w KnownWorkspaces) String() string { return fmt.Sprintf("workspace %q (%s)", w.Name, w.ID) }

// workspaceIDPrefix begins the ID of every workspace at Modal.
const workspaceIDPrefix = "ac-"

// Pin is a workspace that tokens have to belong to. A pin without text accepts every token.
type Pin struct {
	Written string // the name, or the ID, that an operator wrote
	ID      string // empty as long as nobody knows which workspace has the name
}

func (p Pin) String() string {
	if p.ID == "" || p.ID == p.Written {
		return p.Written
	}
	return fmt.Sprintf("%s (%s)", p.Written, p.ID)
}

// NewPin returns the pin for a name or an ID. A text that begins like an ID is never compared with a name:
// people choose the names of their workspaces.
func NewPin(written string) Pin {
	p := Pin{Written: written}
	if strings.HasPrefix(written, workspaceIDPrefix) {
		p.ID = written
	}
	return p
}

// Accepts reports whether a verified token belongs to the pinned workspace. Once the ID is known the name
// counts no more, so that a renamed workspace breaks nothing.
func (p Pin) Accepts(t Token) bool {
	return p.Written == "" || p.ID == t.WorkspaceID || (p.ID == "" && p.Written == t.Workspace)
}

// Check refuses a token outside of the pinned workspace, which no force accepts.
func (p Pin) Check(t Token, where string) error {
	switch {
	case p.Written == "":
		return nil
	case !t.Verified():
		return UserErrorf("token %s was not verified, and only Modal knows whether it belongs to the workspace %s, which %s names: bring it with verify=true; nothing was changed",
			t.ID, p.Written, where)
	case !p.Accepts(t):
		return UserErrorf("token %s is of %s, and %s is %s, which force=true does not override: bring a token of that workspace; nothing was changed",
			t.ID, t.DescribeOwner(), where, p)
	}
	return nil
}
