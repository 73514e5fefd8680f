// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Token is a Modal account Token with what Modal said of it. The identity is empty for a Token that
// was stored unproven. ServerURL is the Modal that accepted it, or that was configured when it was stored
// unproven: its secret goes to no other, and only a refusal there says that it is revoked. Made says that
// this mount made the service user that owns it: with the admin Token it ends no other.
type Token struct {
	ID           string                `json:"token_id"`
	Secret       string                `json:"token_secret"`
	WorkspaceID  string                `json:"workspace_id,omitempty"`
	Workspace    string                `json:"workspace,omitempty"`
	IdentityType modalapi.IdentityKind `json:"identity_type,omitempty"`
	IdentityID   string                `json:"identity_id,omitempty"`
	Identity     string                `json:"identity,omitempty"`
	CreatedAt    time.Time             `json:"created_at,omitzero"`
	ExpiresAt    time.Time             `json:"expires_at,omitzero"`
	LastVerified time.Time             `json:"last_verified,omitzero"`
	ServerURL    string                `json:"server_url,omitempty"`
	Made         bool                  `json:"created_by_mount,omitempty"`
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

// logged returns the account as log pairs, whose names end in suffix.
func (a Account) logged(suffix string) []any {
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

func (t Token) pair() modalapi.Token { return modalapi.Token{ID: t.ID, Secret: t.Secret} }

// serviceUser returns the name of the service user that owns the token, "" for a member's token.
func (t Token) serviceUser() string {
	if t.IdentityType != modalapi.IdentityServiceUser {
		return ""
	}
	return t.Identity
}

// Verified says whether Modal has accepted the token.
func (t Token) Verified() bool { return !t.LastVerified.IsZero() }

// unproven is the token that an operator's pair stands for, as long as Modal was not asked.
func unproven(pair modalapi.Token, serverURL string) Token {
	return Token{ID: pair.ID, Secret: pair.Secret, ServerURL: serverURL}
}

// clockTolerance is how far two clocks may lie apart before somebody is told.
const clockTolerance = 5 * time.Minute

// expiry is when the token expires by the node's own clock, zero for never. Modal dates ExpiresAt by Modal's clock.
func (t Token) expiry() time.Time {
	if t.ExpiresAt.IsZero() {
		return time.Time{}
	}
	return t.ExpiresAt.Add(t.ClockOffset)
}

func (t Token) expired(now time.Time) bool {
	return !t.ExpiresAt.IsZero() && !now.Before(t.expiry())
}

// life is how long the token lives: from its creation where Modal tells that, else from now.
func (t Token) life(now time.Time) time.Duration {
	if t.CreatedAt.IsZero() {
		return t.expiry().Sub(now)
	}
	return t.ExpiresAt.Sub(t.CreatedAt)
}

// createdBetween is a token that Modal created after the engine asked for it and before the engine received it. If
// Modal says another time, the clocks differ, and the token's life counts from the moment that it was received.
func (t Token) createdBetween(asked, received time.Time) Token {
	t.ClockOffset = 0
	if !t.CreatedAt.IsZero() && (t.CreatedAt.Before(seconds(asked)) || t.CreatedAt.After(received)) {
		t.ClockOffset = seconds(received).Sub(t.CreatedAt)
	}
	return t
}

// clockWarning tells, "" for clocks that agree, that the node's clock differs from Modal's.
func (t Token) clockWarning() string {
	direction := "ahead of"
	if t.ClockOffset < 0 {
		direction = "behind"
	}
	if t.ClockOffset.Abs() <= clockTolerance {
		return ""
	}
	return fmt.Sprintf("this node's clock is %s %s Modal's, by the creation of token %s: set the clock right (NTP); "+
		"until then the engine counts the token's life from the moment that it received the token", Human(t.ClockOffset.Abs()), direction, t.ID)
}

// receivedAhead reports whether the token was received under a clock that ran ahead of now. The clock was set back
// since, so the offset says nothing any more.
func (t Token) receivedAhead(now time.Time) bool {
	return t.ClockOffset != 0 && t.CreatedAt.Add(t.ClockOffset).After(now.Add(clockTolerance))
}

// mayLiveOn says whether a refusal can be for the token's end alone, whatever this node's clock is worth, so
// that its service user may still be there. A member's token leaves nothing behind.
func (t Token) mayLiveOn(now time.Time) bool {
	return t.IdentityType != modalapi.IdentityUser && !t.ExpiresAt.IsZero() && earlier(t.ExpiresAt, t.expiry()).Before(now.Add(clockSlack))
}

// endsItself says whether the token is a person's, as Modal said: such a one may delete itself.
func (t Token) endsItself() bool {
	return t.Verified() && t.IdentityType == modalapi.IdentityUser
}

// owner names the identity for a reader, as in `service user "ci" (sv-1) in workspace "acme"`.
func (t Token) owner() string {
	if !t.Verified() {
		return "an identity that Modal was not asked about"
	}
	kind := "user"
	if t.IdentityType == modalapi.IdentityServiceUser {
		kind = "service user"
	}
	return fmt.Sprintf("%s %q (%s) in workspace %q (%s)", kind, t.Identity, t.IdentityID, t.Workspace, t.WorkspaceID)
}

// sameOwner compares only what both tokens are known by: an unproven token pins nothing.
func (t Token) sameOwner(other Token) bool {
	if !t.Verified() || !other.Verified() {
		return true
	}
	sameServer := t.ServerURL == other.ServerURL || t.ServerURL == "" || other.ServerURL == ""
	return sameServer && t.WorkspaceID == other.WorkspaceID &&
		t.IdentityType == other.IdentityType && t.IdentityID == other.IdentityID
}

// accept takes a supplied token as Modal knows it, or as it is when the operator said verify=false. A
// token that returns from the revocation queue with the secret that Modal accepted stays verified.
func (e *Engine) accept(ctx context.Context, cfg *Config, t Token, verify bool) (Token, error) {
	if err := e.recall(ctx, &t); err != nil {
		return Token{}, err
	}
	if !verify {
		return t, nil
	}
	proven, err := e.prove(ctx, cfg, t)
	if err != nil {
		return Token{}, unchanged(t, err)
	}
	return proven, nil
}

// acceptWithin is accept for a token that has to belong to the workspace that config pins.
func (e *Engine) acceptWithin(ctx context.Context, cfg *Config, t Token, verify bool) (Token, error) {
	accepted, err := e.accept(ctx, cfg, t, verify)
	if err != nil {
		return Token{}, err
	}
	return accepted, e.refuseOutside(ctx, cfg, accepted)
}

// prove asks the Modal that a token belongs to whose it is.
func (e *Engine) prove(ctx context.Context, cfg *Config, t Token) (Token, error) {
	who, err := e.whoIs(ctx, cfg, t)
	if modalapi.BareHTTP(err) && !e.acceptsAdmin(ctx, cfg, t) {
		err = modalapi.AsUnavailable(err)
	}
	if err != nil {
		return Token{}, err
	}
	return e.verified(cfg, t, who), nil
}

// acceptsAdmin reports whether Modal accepts the admin token, as a witness for a token that was rejected with a bare HTTP
// status.
func (e *Engine) acceptsAdmin(ctx context.Context, cfg *Config, t Token) bool {
	if cfg.Admin == nil || !cfg.Admin.Verified() || cfg.Admin.ID == t.ID || !cfg.serves(t) {
		return false
	}
	_, err := e.whoIs(ctx, cfg, *cfg.Admin)
	return err == nil
}

// verified returns a token with what Modal said of it.
func (e *Engine) verified(cfg *Config, t Token, who modalapi.Identity) Token {
	return Token{
		ID: t.ID, Secret: t.Secret,
		WorkspaceID: who.WorkspaceID, Workspace: who.WorkspaceName,
		IdentityType: who.Kind, IdentityID: who.ID, Identity: who.Name,
		CreatedAt: seconds(who.CreatedAt), ExpiresAt: seconds(who.ExpiresAt),
		LastVerified: e.Now(), ServerURL: cmp.Or(t.ServerURL, cfg.ServerURL), Made: t.Made, ClockOffset: t.ClockOffset,
	}
}

// warnings tell what is not known of a token.
func (t Token) warnings() []string {
	if t.Verified() {
		return nil
	}
	return []string{fmt.Sprintf("token %s was stored without asking Modal (verify=false): whether it works, and whose it is, is not known", t.ID)}
}

// oneMount warns of a person's token that this mount ends once a rotation replaces it: a mount cannot see
// which tokens another one stores.
func (t Token) oneMount(r *Role) []string {
	if !t.endsItself() || r.KeepPrevious {
		return nil
	}
	return []string{fmt.Sprintf("token %s of %s is for this mount alone: a rotation has it delete itself after the grace period, also where another mount, of any Vault, stores it; "+
		"make a token for each mount, or write revoke_previous=false to the role", t.ID, t.owner())}
}

// seconds is how times are stored: UTC, whole seconds.
func seconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}
