// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"time"
)

// Manages reports whether the engine can create and delete service users in the token's workspace.
func (c *Config) Manages(t Token) bool {
	return c.HasUsableAdmin() && c.CheckReach(t) == nil
}

// HasUsableAdmin reports whether the admin token can create service users.
func (c *Config) HasUsableAdmin() bool {
	return c.Admin != nil && c.Admin.Verified() && c.Limitation == ""
}

// LosesReach reports whether a write took away the CA under which the engine reached the token's server. Only
// config's own server has a CA, and the write pointed config to another server.
func (c *Config) LosesReach(before *Config, t Token) bool {
	return before.CACert != "" && before.Serves(t) && !c.Serves(t)
}

// HasOtherAdmin reports whether a write changed which service users the engine can manage.
func (c *Config) HasOtherAdmin(before *Config) bool {
	return !c.ReachesSameServer(before) || c.AdminID() != before.AdminID() || c.Limitation != before.Limitation
}

// AdminFlaw says in words why the admin token cannot manage a service user.
func (c *Config) AdminFlaw() string {
	switch {
	case c.Admin == nil:
		return "there is none"
	case !c.Admin.Verified():
		return "it was stored unverified"
	case c.Limitation != "":
		return c.Limitation
	}
	return "it belongs to another workspace or server"
}

// CheckNextAdmin refuses an admin token under which the roles could not continue, unless force is set. A mount that
// knows no workspace accepts a first admin token of any workspace.
func (c *Config) CheckNextAdmin(last KnownWorkspaces, next Token, limitation string, force bool) error {
	switch {
	case force || c.AdminID() == next.ID:
		return nil
	case c.Admin != nil && !c.Admin.Verified():
		return UserErrorf("the admin token %s was never verified, so it is not known whether token %s of %s belongs to the same workspace: write force=true to accept the new token; nothing was changed",
			c.Admin.ID, next.ID, next.DescribeOwner())
	case last.ID != "" && next.WorkspaceID != last.ID:
		return UserErrorf("token %s belongs to %s, but this mount's latest admin token belongs to %s: bring a token of that workspace, or write force=true, which leaves the service users of the old workspace to you; nothing was changed",
			next.ID, next.DescribeOwner(), last)
	case c.Admin != nil && limitation != "" && c.Limitation == "":
		return UserErrorf("token %s of %s cannot manage service users, which managed roles need (%s): bring a token of an owner or manager, or write force=true to accept this token; nothing was changed",
			next.ID, next.DescribeOwner(), limitation)
	}
	return nil
}

// defaultAdminGrace is how long a replaced admin token stays valid, for calls that are under way.
const defaultAdminGrace = time.Hour

// AdminRevocation returns the revocation of an admin token that the engine no longer uses, because an operator removed
// or replaced it. A removed token that only a person can delete gets no grace period, so that person need not wait.
func (c *Config) AdminRevocation(after *Config, now time.Time, grace *time.Duration) *Revocation {
	reason, keep := ReasonAdminReplaced, defaultAdminGrace
	if grace != nil {
		keep = *grace
	}
	if after.Admin == nil {
		reason = ReasonAdminRemoved
		if !c.Admin.CreatedByMount {
			keep = 0
		}
	}
	return NewAdminRevocation(*c.Admin, reason, now, keep)
}

// SetAdmin replaces the admin token, or removes it if t is empty. If the same token is brought again, it stays marked
// as created by this mount.
func (c *Config) SetAdmin(t Token, limitation string) {
	t.CreatedByMount = t.CreatedByMount || (c.Admin != nil && c.Admin.ID == t.ID && c.Admin.CreatedByMount)
	c.Admin, c.Limitation = nil, limitation
	if t.ID != "" {
		c.Admin = &t
	}
	c.AdminChecked, c.AdminRejected = time.Time{}, time.Time{}
}

// LimitationWarnings warns of an admin token that cannot manage service users.
func (c *Config) LimitationWarnings() []string {
	if c.Limitation == "" {
		return nil
	}
	return []string{fmt.Sprintf("admin token %s of %s cannot manage service users (%s): static roles work, managed and dynamic roles do not",
		c.Admin.ID, c.Admin.DescribeOwner(), c.Limitation)}
}

// CheckAdminStays refuses a write that would send the stored admin token to a server that has not accepted it. Writes
// that bring an admin token for the new server do not need this check.
func (c *Config) CheckAdminStays(after *Config) error {
	if c.Admin == nil || c.ReachesSameServer(after) {
		return nil
	}
	field := "server_url"
	if SameServer(c.ServerURL, after.ServerURL) {
		field = "ca_cert"
	}
	return UserErrorf("%s: the stored admin token %s is sent only to the server that accepted it: write token_id and token_secret "+
		"of an admin token of the new server in the same write (remove_admin_token=true is not enough); nothing was changed", field, c.Admin.ID)
}

// AdminToken returns the admin token, or an empty token if config has none.
func (c *Config) AdminToken() Token {
	if c.Admin == nil {
		return Token{}
	}
	return *c.Admin
}

// AdminID returns the ID of the admin token, or "" without an admin token.
func (c *Config) AdminID() string { return c.AdminToken().ID }

// States of the admin token.
const (
	AdminNone       = "none"
	AdminUnverified = "unverified"
	AdminExpired    = "expired"
	AdminLimited    = "limited"
	AdminRejected   = "rejected"
	AdminOK         = "ok"
)

// State returns the state of the admin token, as far as the engine knows without asking Modal.
func (c *Config) State(now time.Time) string {
	switch {
	case c.Admin == nil:
		return AdminNone
	case c.Admin.Expired(now):
		return AdminExpired
	case !c.AdminRejected.IsZero():
		return AdminRejected
	case !c.Admin.Verified():
		return AdminUnverified
	case c.Limitation != "":
		return AdminLimited
	}
	return AdminOK
}
