// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// newEntry puts a token on its way out, manually. One that expires within the grace period is dealt with
// at its expiry.
func newEntry(t Token, reason string, now time.Time, grace time.Duration) *Revocation {
	due := now.Add(grace)
	if !t.ExpiresAt.IsZero() && t.expiry().Before(due) {
		due = later(now, t.expiry())
	}
	return &Revocation{Token: t, Reason: reason, Method: methodManual, Since: now, NotBefore: due, NextAttempt: due}
}

// newRevocation puts a role's token on its way out. The engine ends what this mount made, and the member
// token that a rotation replaces; the rest it leaves to people.
func newRevocation(name string, r *Role, cred *Credential, reason string, now time.Time, grace time.Duration) *Revocation {
	entry := newEntry(cred.Token, reason, now, grace)
	entry.Role, entry.Lineage, entry.Version = name, cred.Lineage, cred.Version
	// Managed roles hold nothing else; credentials of before Made was stored do not say so.
	entry.Made = entry.Made || r.Type == TypeManaged
	if entry.Made || (cred.endsItself() && !r.KeepPrevious && reason != reasonRoleDeleted) {
		entry.Method = methodAutomatic
	}
	if r.Managed != nil && r.Managed.Hold > 0 {
		entry.HoldUntil, entry.Refresh = entry.NotBefore.Add(r.Managed.Hold), r.RefreshInterval
	}
	return entry
}

// newAdminRevocation puts an admin token on its way out: a replaced one ends itself where it can, a
// removed one is left to people. Of a service user that this mount made the engine ends either.
func newAdminRevocation(t Token, reason string, now time.Time, grace time.Duration) *Revocation {
	entry := newEntry(t, reason, now, grace)
	if t.Made || (t.endsItself() && reason == reasonAdminReplaced) {
		entry.Method = methodAutomatic
	}
	return entry
}

// newUnfinished is the revocation of a service user that is about to be created, for a role of this generation.
func newUnfinished(role, generation, user string, cfg *Config, now time.Time) *Revocation {
	due := now.Add(unfinishedAfter)
	return &Revocation{
		Token: Token{
			IdentityType: modalapi.IdentityServiceUser, Identity: user,
			WorkspaceID: cfg.Admin.WorkspaceID, Workspace: cfg.Admin.Workspace, ServerURL: cfg.ServerURL, Made: true,
		},
		Role: role, Lineage: generation, Reason: reasonUnfinished, Method: methodAutomatic, Since: now, NotBefore: due, NextAttempt: due,
	}
}
