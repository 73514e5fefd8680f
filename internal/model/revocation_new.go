// SPDX-License-Identifier: MPL-2.0

package model

import (
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// NewTokenRevocation puts a token on its way out, manually. One that expires within the grace period is dealt with
// at its expiry.
func NewTokenRevocation(t Token, reason string, now time.Time, grace time.Duration) *Revocation {
	due := now.Add(grace)
	if !t.ExpiresAt.IsZero() && t.LocalExpiry().Before(due) {
		due = Later(now, t.LocalExpiry())
	}
	return &Revocation{Token: t, Reason: reason, Method: MethodManual, Since: now, NotBefore: due, NextAttempt: due}
}

// NewRevocation puts a role's token on its way out. The engine ends what this mount made, and the member
// token that a rotation replaces; the rest it leaves to people.
func NewRevocation(name string, r *Role, cred *Credential, reason string, now time.Time, grace time.Duration) *Revocation {
	entry := NewTokenRevocation(cred.Token, reason, now, grace)
	entry.Role, entry.GenerationID, entry.Version = name, cred.GenerationID, cred.Version
	// Managed roles hold nothing else; credentials of before Made was stored do not say so.
	entry.CreatedByMount = entry.CreatedByMount || r.Type == TypeManaged
	if entry.CreatedByMount || (cred.CanDeleteItself() && !r.KeepPrevious && reason != ReasonRoleDeleted) {
		entry.Method = MethodAutomatic
	}
	if r.Managed != nil && r.Managed.Hold > 0 {
		entry.HoldUntil, entry.Refresh = entry.NotBefore.Add(r.Managed.Hold), r.RefreshInterval
	}
	return entry
}

// NewAdminRevocation puts an admin token on its way out: a replaced one ends itself where it can, a
// removed one is left to people. Of a service user that this mount made the engine ends either.
func NewAdminRevocation(t Token, reason string, now time.Time, grace time.Duration) *Revocation {
	entry := NewTokenRevocation(t, reason, now, grace)
	if t.CreatedByMount || (t.CanDeleteItself() && reason == ReasonAdminReplaced) {
		entry.Method = MethodAutomatic
	}
	return entry
}

// NewUnfinishedRevocation is the revocation of a service user that is about to be created, for a role of this generation.
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
