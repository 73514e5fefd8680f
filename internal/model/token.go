// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"regexp"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// shellSafeName matches names that need no quotes in a shell. Names come from Modal, and people paste commands.
var shellSafeName = regexp.MustCompile(`^[A-Za-z0-9][\w-]*$`)

// QuotedServiceUser names the service user that owns the token, with its ID if that arrived.
func (t Token) QuotedServiceUser() string {
	if t.IdentityID == "" {
		return fmt.Sprintf("service user %q", t.Identity)
	}
	return fmt.Sprintf("service user %q (%s)", t.Identity, t.IdentityID)
}

// DeletionInstructions names the page and the command with which a person deletes the token.
func (t Token) DeletionInstructions() string {
	if t.IdentityType != modalapi.IdentityServiceUser {
		where := TokensPage
		if t.Workspace != "" {
			where += fmt.Sprintf(" (workspace %q)", t.Workspace)
		}
		return fmt.Sprintf("delete token %s on %s or with: modal workspace member-tokens delete %s", t.ID, where, t.ID)
	}
	step := "delete " + t.QuotedServiceUser()
	if t.ID != "" {
		step += fmt.Sprintf(", which owns token %s,", t.ID)
	}
	step += fmt.Sprintf(" in the settings of workspace %q at Modal", t.Workspace)
	if shellSafeName.MatchString(t.Identity) {
		step += " or with: modal workspace service-users delete " + t.Identity
	}
	return step
}

// TokensPage is where a member manages tokens at Modal.
const TokensPage = "https://modal.com/settings/tokens"

// mountServiceUser matches the names that mounts of this engine give to service users.
var mountServiceUser = regexp.MustCompile(`^vault-[0-9a-f]{8}-.+-[a-z0-9]{8}$`)

// CheckNotCreatedByMount refuses the token of a service user that this mount, or another mount of this engine,
// created. That mount will delete the service user.
func (t Token) CheckNotCreatedByMount(force bool) error {
	if force || t.IdentityType != modalapi.IdentityServiceUser || !mountServiceUser.MatchString(t.Identity) {
		return nil
	}
	return UserErrorf("token %s belongs to service user %q. Its name shows that a mount of this engine created it, and that mount will delete it: "+
		"bring another token, or write force=true to accept this token; nothing was changed", t.ID, t.Identity)
}

// Token is a Modal account token, with what Modal said about it. The fields about its owner are empty until the token
// is verified.
type Token struct {
	// ID is the token ID (ak-…).
	ID string `json:"token_id"`
	// Secret is the token secret (as-…).
	Secret string `json:"token_secret"`
	// WorkspaceID is the ID of the owner's workspace.
	WorkspaceID string `json:"workspace_id,omitempty"`
	// Workspace is the name of the owner's workspace.
	Workspace string `json:"workspace,omitempty"`
	// IdentityType says whether a person or a service user owns the token.
	IdentityType modalapi.IdentityKind `json:"identity_type,omitempty"`
	// IdentityID is Modal's ID of the owner.
	IdentityID string `json:"identity_id,omitempty"`
	// Identity is the owner's name.
	Identity string `json:"identity,omitempty"`
	// CreatedAt is when Modal created the token, by Modal's clock. It is zero if Modal did not tell.
	CreatedAt time.Time `json:"created_at,omitzero"`
	// ExpiresAt is when the token expires, by Modal's clock. It is zero for never.
	ExpiresAt time.Time `json:"expires_at,omitzero"`
	// LastVerified is when Modal last accepted the token. It is zero for a token that was never verified.
	LastVerified time.Time `json:"last_verified,omitzero"`
	// ServerURL is the server that accepted the token. For an unverified token it is the server in config at that
	// time. The secret is sent to no other server, and only a rejection by this server proves that the token is
	// revoked.
	ServerURL string `json:"server_url,omitempty"`
	// CreatedByMount says that this mount created the service user that owns the token. With the admin token the
	// engine deletes no other service user by itself.
	CreatedByMount bool `json:"created_by_mount,omitempty"`
	// ClockOffset is how far the node's clock was ahead of Modal's when the engine received a token that Modal had
	// just created. It is zero if the clocks agree, and for an imported token.
	ClockOffset time.Duration `json:"clock_offset,omitempty"`
}

// Account is the owner of a token, as Modal named it. It is empty for a token that was never verified.
type Account struct {
	// WorkspaceID is the ID of the owner's workspace.
	WorkspaceID string `json:"workspace_id,omitempty"`
	// Workspace is the name of the owner's workspace.
	Workspace string `json:"workspace,omitempty"`
	// IdentityType says whether the owner is a person or a service user.
	IdentityType modalapi.IdentityKind `json:"identity_type,omitempty"`
	// IdentityID is Modal's ID of the owner.
	IdentityID string `json:"identity_id,omitempty"`
	// Identity is the owner's name.
	Identity string `json:"identity,omitempty"`
}

// Account returns the owner of the token.
func (t Token) Account() Account {
	return Account{t.WorkspaceID, t.Workspace, t.IdentityType, t.IdentityID, t.Identity}
}

// LogPairs returns the account as log pairs. Their names end in suffix.
func (a Account) LogPairs(suffix string) []any {
	var pairs []any
	for _, field := range []struct{ name, value string }{
		{"workspace", a.Workspace}, {"workspace_id", a.WorkspaceID}, {"identity", a.Identity}, {"identity_id", a.IdentityID},
	} {
		if field.value != "" {
			pairs = append(pairs, field.name+suffix, field.value)
		}
	}
	return pairs
}

// String returns the token ID, so that a printed token does not show its secret.
func (t Token) String() string { return t.ID }

// GoString is String for the %#v verb.
func (t Token) GoString() string { return t.ID }

// APIToken returns the token as the package modalapi takes it.
func (t Token) APIToken() modalapi.Token { return modalapi.Token{ID: t.ID, Secret: t.Secret} }

// ServiceUserName returns the name of the service user that owns the token. It is empty for a member token.
func (t Token) ServiceUserName() string {
	if t.IdentityType != modalapi.IdentityServiceUser {
		return ""
	}
	return t.Identity
}

// Verified reports whether Modal has accepted the token.
func (t Token) Verified() bool { return !t.LastVerified.IsZero() }

// UnverifiedToken returns a supplied token before Modal was asked about it.
func UnverifiedToken(supplied modalapi.Token, serverURL string) Token {
	return Token{ID: supplied.ID, Secret: supplied.Secret, ServerURL: serverURL}
}

// LocalExpiry returns when the token expires by the node's own clock, zero for never. ExpiresAt is in the time of
// Modal's clock.
func (t Token) LocalExpiry() time.Time {
	if t.ExpiresAt.IsZero() {
		return time.Time{}
	}
	return t.ExpiresAt.Add(t.ClockOffset)
}

// Expired reports whether the token's expiry has passed.
func (t Token) Expired(now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.LocalExpiry())
}

// Lifetime returns how long the token lives. It counts from the token's creation if Modal told that, and otherwise
// from now.
func (t Token) Lifetime(now time.Time) time.Duration {
	if t.CreatedAt.IsZero() {
		return t.LocalExpiry().Sub(now)
	}
	return t.ExpiresAt.Sub(t.CreatedAt)
}

// CanDeleteItself reports whether the token is a verified member token. Modal lets a member token delete itself.
func (t Token) CanDeleteItself() bool {
	return t.Verified() && t.IdentityType == modalapi.IdentityUser
}

// DescribeOwner describes the owner for a reader, as in `service user "ci" (sv-1) in workspace "acme"`.
func (t Token) DescribeOwner() string {
	if !t.Verified() {
		return "an owner that Modal was not asked about"
	}
	kind := "user"
	if t.IdentityType == modalapi.IdentityServiceUser {
		kind = "service user"
	}
	return fmt.Sprintf("%s %q (%s) in workspace %q (%s)", kind, t.Identity, t.IdentityID, t.Workspace, t.WorkspaceID)
}

// HasSameOwner reports whether two tokens may have the same owner. It compares only what Modal said about both, so an
// unverified token has the same owner as any other.
func (t Token) HasSameOwner(other Token) bool {
	if !t.Verified() || !other.Verified() {
		return true
	}
	sameServer := t.ServerURL == other.ServerURL || t.ServerURL == "" || other.ServerURL == ""
	return sameServer && t.WorkspaceID == other.WorkspaceID &&
		t.IdentityType == other.IdentityType && t.IdentityID == other.IdentityID
}

// Warnings warns of a token that was stored without verification.
func (t Token) Warnings() []string {
	if t.Verified() {
		return nil
	}
	return []string{fmt.Sprintf("token %s was stored without asking Modal (verify=false), so it may not work, and its owner is not known", t.ID)}
}

// OtherMountWarnings warns of a member token that this mount deletes once a rotation replaces it. Another mount may
// store the same token, and this mount cannot see that.
func (t Token) OtherMountWarnings(r *Role) []string {
	if !t.CanDeleteItself() || r.KeepPrevious {
		return nil
	}
	return []string{fmt.Sprintf("token %s of %s must be used by this mount alone: after a rotation and its grace period the token deletes itself, even if another mount of any Vault stores it; "+
		"create a token for each mount, or write revoke_previous=false to the role", t.ID, t.DescribeOwner())}
}
