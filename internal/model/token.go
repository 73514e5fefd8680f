// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"regexp"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// pasteable is a name that a shell takes as it is. Names come from Modal, and commands are pasted.
var pasteable = regexp.MustCompile(`^[A-Za-z0-9][\w-]*$`)

// QuotedServiceUser names the service user that owns the token, with its ID if that arrived.
func (t Token) QuotedServiceUser() string {
	if t.IdentityID == "" {
		return fmt.Sprintf("service user %q", t.Identity)
	}
	return fmt.Sprintf("service user %q (%s)", t.Identity, t.IdentityID)
}

// DeletionInstructions names the page and the command that make Modal reject the token.
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
	if pasteable.MatchString(t.Identity) {
		step += " or with: modal workspace service-users delete " + t.Identity
	}
	return step
}

// TokensPage is where a member manages tokens at Modal.
const TokensPage = "https://modal.com/settings/tokens"

// createdByMount is how every mount names the service users that it makes.
var createdByMount = regexp.MustCompile(`^vault-[0-9a-f]{8}-.+-[a-z0-9]{8}$`)

// CheckNotCreatedByMount refuses the token of a service user that an engine made, this mount's or another's: that
// engine ends it.
func (t Token) CheckNotCreatedByMount(force bool) error {
	if force || t.IdentityType != modalapi.IdentityServiceUser || !createdByMount.MatchString(t.Identity) {
		return nil
	}
	return UserErrorf("token %s belongs to service user %q, which a mount of this engine made, as its name says, and will delete: "+
		"bring another token, or write force=true to take it all the same; nothing was changed", t.ID, t.Identity)
}

// Token is a Modal account Token with what Modal said of it. The identity is empty for a Token that
// was stored unproven. ServerURL is the Modal that accepted it, or that was configured when it was stored
// unproven: its secret goes to no other, and only a refusal there says that it is revoked. Made says that
// this mount made the service user that owns it: with the admin Token it ends no other.
type Token struct {
	ID             string                `json:"token_id"`
	Secret         string                `json:"token_secret"`
	WorkspaceID    string                `json:"workspace_id,omitempty"`
	Workspace      string                `json:"workspace,omitempty"`
	IdentityType   modalapi.IdentityKind `json:"identity_type,omitempty"`
	IdentityID     string                `json:"identity_id,omitempty"`
	Identity       string                `json:"identity,omitempty"`
	CreatedAt      time.Time             `json:"created_at,omitzero"`
	ExpiresAt      time.Time             `json:"expires_at,omitzero"`
	LastVerified   time.Time             `json:"last_verified,omitzero"`
	ServerURL      string                `json:"server_url,omitempty"`
	CreatedByMount bool                  `json:"created_by_mount,omitempty"`
	// ClockOffset is how far the node's clock was ahead of Modal's when the engine received a token that Modal had
	// just created. It is zero for clocks that agree, and for an imported token.
	ClockOffset time.Duration `json:"clock_offset,omitempty"`
}

// Account is whose a token is, as Modal said. It is empty for a token that was never verified.
type Account struct {
	WorkspaceID  string                `json:"workspace_id,omitempty"`
	Workspace    string                `json:"workspace,omitempty"`
	IdentityType modalapi.IdentityKind `json:"identity_type,omitempty"`
	IdentityID   string                `json:"identity_id,omitempty"`
	Identity     string                `json:"identity,omitempty"`
}

// Account returns whose the token is.
func (t Token) Account() Account {
	return Account{t.WorkspaceID, t.Workspace, t.IdentityType, t.IdentityID, t.Identity}
}

// LogPairs returns the account as log pairs, whose names end in suffix.
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

// String keeps the secret out of anything that prints a token.
func (t Token) String() string { return t.ID }

// GoString is String for the %#v verb.
func (t Token) GoString() string { return t.ID }

// APIToken returns the pair that Modal's API takes.
func (t Token) APIToken() modalapi.Token { return modalapi.Token{ID: t.ID, Secret: t.Secret} }

// ServiceUserName returns the name of the service user that owns the token, "" for a member's token.
func (t Token) ServiceUserName() string {
	if t.IdentityType != modalapi.IdentityServiceUser {
		return ""
	}
	return t.Identity
}

// Verified says whether Modal has accepted the token.
func (t Token) Verified() bool { return !t.LastVerified.IsZero() }

// UnverifiedToken is the token that an operator's pair stands for, as long as Modal was not asked.
func UnverifiedToken(pair modalapi.Token, serverURL string) Token {
	return Token{ID: pair.ID, Secret: pair.Secret, ServerURL: serverURL}
}

// clockTolerance is how far two clocks may lie apart before somebody is told.
const clockTolerance = 5 * time.Minute

// LocalExpiry is when the token expires by the node's own clock, zero for never. Modal dates ExpiresAt by Modal's clock.
func (t Token) LocalExpiry() time.Time {
	if t.ExpiresAt.IsZero() {
		return time.Time{}
	}
	return t.ExpiresAt.Add(t.ClockOffset)
}

// Expired reports whether the token has expired by its own date.
func (t Token) Expired(now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.LocalExpiry())
}

// Lifetime is how long the token lives: from its creation where Modal tells that, else from now.
func (t Token) Lifetime(now time.Time) time.Duration {
	if t.CreatedAt.IsZero() {
		return t.LocalExpiry().Sub(now)
	}
	return t.ExpiresAt.Sub(t.CreatedAt)
}

// WithClockOffset is a token that Modal created after the engine asked for it and before the engine received it. If
// Modal says another time, the clocks differ, and the token's life counts from the moment that it was received.
func (t Token) WithClockOffset(asked, received time.Time) Token {
	t.ClockOffset = 0
	if !t.CreatedAt.IsZero() && (t.CreatedAt.Before(WholeSeconds(asked)) || t.CreatedAt.After(received)) {
		t.ClockOffset = WholeSeconds(received).Sub(t.CreatedAt)
	}
	return t
}

// ClockWarning tells, "" for clocks that agree, that the node's clock differs from Modal's.
func (t Token) ClockWarning() string {
	direction := "ahead of"
	if t.ClockOffset < 0 {
		direction = "behind"
	}
	if t.ClockOffset.Abs() <= clockTolerance {
		return ""
	}
	return fmt.Sprintf("this node's clock is %s %s Modal's, by the creation of token %s: set the clock right (NTP); "+
		"until then the engine counts the token's life from the moment that it received the token", FormatDuration(t.ClockOffset.Abs()), direction, t.ID)
}

// ReceivedInTheFuture reports whether the token was received under a clock that ran ahead of now. The clock was set back
// since, so the offset says nothing any more.
func (t Token) ReceivedInTheFuture(now time.Time) bool {
	return t.ClockOffset != 0 && t.CreatedAt.Add(t.ClockOffset).After(now.Add(clockTolerance))
}

// MayOnlyHaveExpired says whether a refusal can be for the token's end alone, whatever this node's clock is worth, so
// that its service user may still be there. A member's token leaves nothing behind.
func (t Token) MayOnlyHaveExpired(now time.Time) bool {
	return t.IdentityType != modalapi.IdentityUser && !t.ExpiresAt.IsZero() && Earlier(t.ExpiresAt, t.LocalExpiry()).Before(now.Add(ClockSlack))
}

// CanDeleteItself says whether the token is a person's, as Modal said: such a one may delete itself.
func (t Token) CanDeleteItself() bool {
	return t.Verified() && t.IdentityType == modalapi.IdentityUser
}

// DescribeOwner names the identity for a reader, as in `service user "ci" (sv-1) in workspace "acme"`.
func (t Token) DescribeOwner() string {
	if !t.Verified() {
		return "an identity that Modal was not asked about"
	}
	kind := "user"
	if t.IdentityType == modalapi.IdentityServiceUser {
		kind = "service user"
	}
	return fmt.Sprintf("%s %q (%s) in workspace %q (%s)", kind, t.Identity, t.IdentityID, t.Workspace, t.WorkspaceID)
}

// HasSameOwner compares only what both tokens are known by: an unproven token pins nothing.
func (t Token) HasSameOwner(other Token) bool {
	if !t.Verified() || !other.Verified() {
		return true
	}
	sameServer := t.ServerURL == other.ServerURL || t.ServerURL == "" || other.ServerURL == ""
	return sameServer && t.WorkspaceID == other.WorkspaceID &&
		t.IdentityType == other.IdentityType && t.IdentityID == other.IdentityID
}

// Warnings tell what is not known of a token.
func (t Token) Warnings() []string {
	if t.Verified() {
		return nil
	}
	return []string{fmt.Sprintf("token %s was stored without asking Modal (verify=false): whether it works, and whose it is, is not known", t.ID)}
}

// OtherMountWarnings warns of a person's token that this mount ends once a rotation replaces it: a mount cannot see
// which tokens another one stores.
func (t Token) OtherMountWarnings(r *Role) []string {
	if !t.CanDeleteItself() || r.KeepPrevious {
		return nil
	}
	return []string{fmt.Sprintf("token %s of %s is for this mount alone: a rotation has it delete itself after the grace period, also where another mount, of any Vault, stores it; "+
		"make a token for each mount, or write revoke_previous=false to the role", t.ID, t.DescribeOwner())}
}
