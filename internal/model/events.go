// SPDX-License-Identifier: MPL-2.0

package model

// Event types, as they appear on Vault's event bus.
const (
	EventConfigWrite   = "modal/config-write"
	EventExpiryWarning = "modal/expiry-warning"
	EventRoleWrite     = "modal/role-write"
	EventRoleDelete    = "modal/role-delete"
	EventRotate        = "modal/rotate"
	EventRotateFail    = "modal/rotate-fail"
	EventRevoke        = "modal/revoke"
	EventRevokeFail    = "modal/revoke-fail"
	EventRevokeManual  = "modal/revoke-manual"
	EventApprovalBegin = "modal/approval-begin"
	EventOutOfSync     = "modal/out-of-sync"
	EventTokenRejected = "modal/token-rejected"
)

// Event tells what happened to a role, a token or the configuration. Empty fields are left out of the event. No field
// may contain a secret.
type Event struct {
	// Kind is one of the event types above.
	Kind string
	// Modified says that storage was changed.
	Modified bool
	// Role is empty for the admin token and config.
	Role string
	// Version is the version of the role's token.
	Version int
	// TokenID is the ID of the token that the event is about.
	TokenID string
	// PreviousTokenID is the ID of the token that a rotation replaced.
	PreviousTokenID string
	// Proof says how the engine knows that the token is revoked: see [Revocation.Proof].
	Proof string
	// Entry is the ID of a revocation.
	Entry string
	// Account is the token's owner.
	Account Account
}

// Event returns an event about a revocation's token.
func (r *Revocation) Event(kind string) Event {
	return Event{Kind: kind, Entry: r.Key(), Role: r.Role, Version: r.Version, TokenID: r.ID, Account: r.Account()}
}

// FailureEvent returns the event of a failed rotation.
func (r *Rotation) FailureEvent() Event {
	return Event{Kind: EventRotateFail, Role: r.Name, Version: r.Cred.Version, TokenID: r.Cred.ID, Account: r.Cred.Account()}
}
