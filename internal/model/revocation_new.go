// SPDX-License-Identifier: MPL-2.0

package model

import (
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// NewTokenRevocation returns a manual revocation, due at the end of the grace period or at the token's expiry if that
// comes first.
func NewTokenRevocation(t Token, reason string, now time.Time, grace time.Duration) *Revocation {
	due := now.Add(grace)
	if !t.ExpiresAt.IsZero() && t.LocalExpiry().Before(due) {
		due = Later(now, t.LocalExpiry())
	}
	return &Revocation{Token: t, Reason: reason, Method: MethodManual, Since: now, NotBefore: due, NextAttempt: due}
}

// NewRevocation returns the revocation of a role's token. The method is automatic for a service user that this mount
// created, and for a member token that a rotation replaces. Any other token is left to an operator.
func NewRevocation(name string, r *Role, cred *Credential, reason string, now time.Time, grace time.Duration) *Revocation {
	entry := NewTokenRevocation(cred.Token, reason, now, grace)
	entry.Role, entry.GenerationID, entry.Version = name, cred.GenerationID, cred.Version
	// A managed role has no other tokens. Old credentials were stored without CreatedByMount.
	entry.CreatedByMount = entry.CreatedByMount || r.Type == TypeManaged
	if entry.CreatedByMount || (cred.CanDeleteItself() && !r.KeepPrevious && reason != ReasonRoleDeleted) {
		entry.Method = MethodAutomatic
	}
	if r.Managed != nil && r.Managed.Hold > 0 {
		entry.HoldUntil, entry.Refresh = entry.NotBefore.Add(r.Managed.Hold), r.RefreshInterval
	}
	return entry
}

// NewAdminRevocation returns the revocation of an admin token. The method is automatic for a service user that this
// mount created, and for a replaced member token, which deletes itself. A removed token is otherwise left to an
// operator.
func NewAdminRevocation(t Token, reason string, now time.Time, grace time.Duration) *Revocation {
	entry := NewTokenRevocation(t, reason, now, grace)
	if t.CreatedByMount || (t.CanDeleteItself() && reason == ReasonAdminReplaced) {
		entry.Method = MethodAutomatic
	}
	return entry
}

// NewUnfinishedRevocation returns the revocation of a service user that the engine is about to create for a role of
// this generation.
func NewUnfinishedRevocation(role, generation, user string, cfg *Config, now time.Time) *Revocation {
	due := now.Add(UnfinishedAfter)
	return &Revocation{
		Token: Token{
			IdentityType: modalapi.IdentityServiceUser, Identity: user,
			WorkspaceID: cfg.Admin.WorkspaceID, Workspace: cfg.Admin.Workspace, ServerURL: cfg.ServerURL, CreatedByMount: true,
		},
		Role: role, GenerationID: generation, Reason: ReasonUnfinished, Method: MethodAutomatic, Since: now, NotBefore: due, NextAttempt: due,
	}
}
