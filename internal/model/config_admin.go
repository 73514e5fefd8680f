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

// LosesReach reports whether the token's own server is only reached with a CA that config no longer has.
func (c *Config) LosesReach(before *Config, t Token) bool {
	return before.CACert != "" && before.Serves(t) && !c.Serves(t)
}

// HasOtherAdmin reports whether a write changed which service users the engine can manage.
func (c *Config) HasOtherAdmin(before *Config) bool {
	return !c.ReachesSameServer(before) || c.AdminID() != before.AdminID() || c.Limitation != before.Limitation
}

// AdminFlaw names the flaw of the admin token, for a reader.
func (c *Config) AdminFlaw() string {
	switch {
	case c.Admin == nil:
		return "there is none"
	case !c.Admin.Verified():
		return "it was stored unverified"
	case c.Limitation != "":
		return c.Limitation
	}
	return "it is of another workspace or server"
}

// CheckNextAdmin refuses a token under which the roles could not go on as they do, unless that is forced.
// The first admin token of a mount that knows no workspace may be anybody's.
func (c *Config) CheckNextAdmin(last KnownWorkspaces, next Token, limitation string, force bool) error {
	switch {
	case force || c.AdminID() == next.ID:
		return nil
	case c.Admin != nil && !c.Admin.Verified():
		return UserErrorf("the admin token %s was stored without asking Modal, so nobody knows which workspace the next one has to be of: write force=true to take token %s of %s; nothing was changed",
			c.Admin.ID, next.ID, next.DescribeOwner())
	case last.ID != "" && next.WorkspaceID != last.ID:
		return UserErrorf("token %s is of %s, and this mount's admin token is, or was, of %s: bring one of the same workspace, or write force=true to change it, which leaves the service users of that one to you; nothing was changed",
			next.ID, next.DescribeOwner(), last)
	case c.Admin != nil && limitation != "" && c.Limitation == "":
		return UserErrorf("token %s of %s cannot manage service users, which managed roles need (%s): bring one of an owner or manager, or write force=true to take it all the same; nothing was changed",
			next.ID, next.DescribeOwner(), limitation)
	}
	return nil
}

// defaultAdminGrace is how long a replaced admin token works on, for the calls that are under way.
const defaultAdminGrace = time.Hour

// RetiredAdmin is the entry of an admin token that the engine no longer uses: people removed it, or brought
// another. What is left to people they may end at once.
func (c *Config) RetiredAdmin(after *Config, now time.Time, grace *time.Duration) *Revocation {
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

// SetAdmin replaces the admin token, or removes it. If the same token is brought again, the config keeps in
// mind that this mount made it.
func (c *Config) SetAdmin(t Token, limitation string) {
	t.CreatedByMount = t.CreatedByMount || (c.Admin != nil && c.Admin.ID == t.ID && c.Admin.CreatedByMount)
	c.Admin, c.Limitation = nil, limitation
	if t.ID != "" {
		c.Admin = &t
	}
	c.AdminChecked, c.AdminRejected = time.Time{}, time.Time{}
}

// LimitationWarnings tell what will not work with the admin token.
func (c *Config) LimitationWarnings() []string {
	if c.Limitation == "" {
		return nil
	}
	return []string{fmt.Sprintf("admin token %s of %s cannot manage service users, so managed roles will not work, and static ones will: %s",
		c.Admin.ID, c.Admin.DescribeOwner(), c.Limitation)}
}

// CheckAdminStays refuses a write that changes which servers may receive the stored admin token and brings no
// admin token that the new server accepts.
func (c *Config) CheckAdminStays(after *Config) error {
	if c.Admin == nil || c.ReachesSameServer(after) {
		return nil
	}
	field := "server_url"
	if SameServer(c.ServerURL, after.ServerURL) {
		field = "ca_cert"
	}
	return UserErrorf("%s: the stored admin token %s is sent to no server that has not accepted it: write token_id and token_secret "+
		"of an admin token of the new server with it (remove_admin_token=true in the same write does not do); nothing was changed", field, c.Admin.ID)
}

// AdminToken is the admin token, empty for none.
func (c *Config) AdminToken() Token {
	if c.Admin == nil {
		return Token{}
	}
	return *c.Admin
}

// AdminID returns the ID of the admin token, empty without one.
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

// State is how the admin token stands, as far as the engine knows without asking Modal.
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
