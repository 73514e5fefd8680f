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

// Event is what happened to a role, a token or the configuration. Empty fields say nothing, and no field
// is for a secret.
type Event struct {
	Kind            string
	Modified        bool
	Role            string
	Version         int
	TokenID         string
	PreviousTokenID string
	// Proof is what a token's refusal says: see [Revocation.Proof].
	Proof string
	// Entry is the ID of an entry of the ledger.
	Entry string
	// Account is whose the token is.
	Account Account
}

// Event is what happened to the token of a revocation.
func (r *Revocation) Event(kind string) Event {
	return Event{Kind: kind, Entry: r.Key(), Role: r.Role, Version: r.Version, TokenID: r.ID, Account: r.Account()}
}

// FailureEvent is the event of a rotation that did not happen.
func (r *Rotation) FailureEvent() Event {
	return Event{Kind: EventRotateFail, Role: r.Name, Version: r.Cred.Version, TokenID: r.Cred.ID, Account: r.Cred.Account()}
}
