// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// UsedElsewhereError returns the error for a request to end a lease's token while another role, or config, uses the
// token.
func (r *Revocation) UsedElsewhereError() error {
	return UserErrorf("token %s belongs to a lease of role %s, but an operator also stored it, unverified, in another role or as the admin token: "+
		"replace it there first; the revocation stays", r.ID, r.Role)
}

// WhoseFor says in a message whether the token was of the role that the caller writes, or of another role. It does
// not name that other role.
func (r *Revocation) WhoseFor(name string) string {
	switch {
	case r.Role != "" && r.Role == name:
		return ", of this role"
	case r.Role != "":
		return ", of another role of this mount"
	}
	return ""
}

// UnfinishedAfter is how long after the creation began the worker deletes the service user of an unfinished creation. It is longer than a
// rotation can take.
const UnfinishedAfter = 10 * time.Minute

// MintBudget bounds the calls to Modal of one rotation, including the wait until Modal accepts the new token.
const MintBudget = 45 * time.Second

// WithoutToken returns the revocation without the token and ID that Modal's answer brought. Only the service user's
// name stays.
func (r Revocation) WithoutToken() *Revocation {
	r.Token = Token{
		IdentityType: r.IdentityType, Identity: r.Identity, WorkspaceID: r.WorkspaceID, Workspace: r.Workspace,
		ServerURL: r.ServerURL, CreatedByMount: r.CreatedByMount,
	}
	return &r
}

// DeletionText says how the engine deletes the token.
func (r *Revocation) DeletionText() string {
	if r.IdentityType == modalapi.IdentityServiceUser {
		return "delete " + r.QuotedServiceUser()
	}
	return fmt.Sprintf("have token %s delete itself", r.ID)
}

// Reasons of a revocation.
const (
	ReasonRotated     = "rotated"
	ReasonUndone      = "undone"
	ReasonRoleDeleted = "role deleted"
	ReasonUnfinished  = "unfinished"
	ReasonLease       = "lease"
	ReasonOrphan      = "orphan"
	// ReasonApproved: a person approved the token in a browser, and the token is not current, or not yet.
	ReasonApproved      = "approved"
	ReasonAdminReplaced = "admin token replaced"
	ReasonAdminRemoved  = "admin token removed"
)

// Methods of a revocation.
const (
	// MethodAutomatic: the engine deletes the service user, or lets the member token delete itself.
	MethodAutomatic = "automatic"
	// MethodManual: a person deletes the token at Modal.
	MethodManual = "manual"
)

// Revocation is an item of the revocation queue: a token that must end. It stays in the queue until the engine has seen
// that Modal rejects the token. An unfinished revocation is stored before its service user is created. It has no token
// yet, and is known by the service user's name.
type Revocation struct {
	Token
	// Role is the role that the token belongs to. It is empty for config's admin token.
	Role string `json:"role"`
	// GenerationID is that of the role. It tells the role from a later role of the same name.
	GenerationID string `json:"generation_id,omitempty"`
	// Version is the token's version. It is zero for a token that never was a role's current token.
	Version int `json:"version"`
	// Reason is one of the reasons above.
	Reason string `json:"reason"`
	// Method is one of the methods above.
	Method string `json:"method"`
	// Since is when the revocation was stored, or when the lease began.
	Since time.Time `json:"since"`
	// NotBefore is when the engine may start to delete the token: after the grace period, after the lease, or once a
	// creation must have finished.
	NotBefore time.Time `json:"not_before"`
	// Tries are the attempts that did not prove the token revoked.
	Tries
	// NextAttempt is when the engine tries next. An entry without it is damaged: the engine would never try.
	NextAttempt time.Time `json:"next_attempt"`
	// Forced says that an operator wants the token revoked now.
	Forced bool `json:"forced,omitempty"`
	// DeletionStarted says that Modal may already have deleted the token. So the token never becomes current again.
	DeletionStarted bool `json:"deletion_started,omitempty"`
	// AcceptedAfterDeletion says that Modal acknowledged the deletion and still accepts the token.
	AcceptedAfterDeletion bool `json:"unconfirmed,omitempty"`

	// Leased says that the token belongs to a lease, or is created for a lease.
	Leased bool `json:"leased,omitempty"`
	// HoldUntil is until when the token may live while it is used. It is zero for a role without hold_while_used.
	HoldUntil time.Time `json:"hold_until,omitzero"`
	// Refresh is the refresh interval of the token's consumers, for a role with hold_while_used.
	Refresh time.Duration `json:"refresh,omitempty"`
	// WasInUse says that the token was still used at the last check.
	WasInUse bool `json:"in_use,omitempty"`
	// LastUsed is when Modal last saw the token used. It is zero if Modal did not tell.
	LastUsed time.Time `json:"last_used_at,omitzero"`
	// Rights holds the rights of a lease's service user, as Modal was last seen to have them.
	Rights Access `json:"rights,omitzero"`

	// Acknowledged says that Modal said it deleted the token.
	Acknowledged bool `json:"acknowledged,omitempty"`
	// RefusedReason is Modal's reason for not deleting the token. It is empty if Modal did not refuse.
	RefusedReason string `json:"refused_reason,omitempty"`
	// FirstRejectedAt is when Modal first rejected the token while no witness could be asked. A witness is another
	// token of the same workspace: if Modal accepts it, Modal does not reject everything.
	FirstRejectedAt time.Time `json:"first_rejected_at,omitzero"`
	// FirstNotFoundAt is when Modal first did not know an unfinished service user, or an approved token.
	FirstNotFoundAt time.Time `json:"first_not_found_at,omitzero"`
}

// Key returns the revocation's ID, in storage and for operators: the token's ID, or the service user's name.
func (r *Revocation) Key() string {
	if r.Reason == ReasonUnfinished || r.Reason == ReasonLease || r.Reason == ReasonOrphan {
		return r.Identity
	}
	return r.ID
}

// CanDelete reports whether the engine may delete the token. With the admin token the engine deletes service users
// that this mount created, and a member token deletes itself. An operator's force allows both for other tokens too. A
// token that was never verified has no known owner, so the engine deletes it only if a person approved it.
func (r *Revocation) CanDelete() bool {
	switch r.IdentityType {
	case modalapi.IdentityServiceUser:
		return r.Forced || r.Reason == ReasonUnfinished || (r.CreatedByMount && r.Method == MethodAutomatic)
	case modalapi.IdentityUser:
		return r.Forced || r.Method == MethodAutomatic
	}
	return r.Reason == ReasonApproved // a person can only approve a token of their own
}

// Means returns the method that applies now. If Modal does not let the engine delete the token, a person must.
func (r *Revocation) Means() string {
	if r.RefusedReason != "" {
		return MethodManual
	}
	return r.Method
}

// NotYetCurrent reports whether the token was created or approved to become current, and has not become current.
func (r *Revocation) NotYetCurrent() bool {
	return r.Reason == ReasonUnfinished || r.Reason == ReasonApproved
}

// MayReturn reports whether the token may become current again. Once the engine has started to delete the token, it
// may not.
func (r *Revocation) MayReturn() bool { return !r.DeletionStarted && !r.Forced }

// IsOfGeneration reports whether the token belongs to this role, and not to a deleted role of the same name.
func (r *Revocation) IsOfGeneration(role *Role) bool {
	return role != nil && r.GenerationID == role.GenerationID
}

// HasConfirmedID reports whether Modal confirmed that IdentityID belongs to the service user's name. The answer to a
// creation confirms nothing: it may be about another service user.
func (r *Revocation) HasConfirmedID() bool {
	return r.IdentityID != "" && (r.Verified() || r.Reason == ReasonOrphan)
}

// WasAccepted reports whether Modal once accepted this token ID and secret, or issued them itself. Only then does a
// rejection prove something.
func (r *Revocation) WasAccepted() bool {
	return r.Verified() || (r.CreatedByMount && r.Secret != "") || r.Reason == ReasonApproved
}

// neverSeen reports whether Modal has never been seen to know the service user, or the approved token.
func (r *Revocation) neverSeen() bool {
	return r.Reason == ReasonUnfinished || (r.Reason == ReasonApproved && !r.Verified())
}

// MayStillAppear reports whether Modal may still be creating the service user, or may not know the approved token
// everywhere. A NOT_FOUND or a rejection proves nothing then. The ten minutes count from the first such answer, and
// not from the creation: the clock may have been corrected in between.
func (r *Revocation) MayStillAppear(now time.Time) bool {
	return r.neverSeen() && (r.FirstNotFoundAt.IsZero() || now.Before(r.FirstNotFoundAt.Add(UnfinishedAfter)))
}

// maxDoubtedAttempts is the number of attempts after which RecordNotFound no longer suspects that another clock dated
// the revocation.
const maxDoubtedAttempts = 3

// RecordNotFound stores when Modal first did not know the service user or token, and reports whether it may still
// appear. The time is set again if this attempt is long overdue: the engine did not run, or another clock dated the
// revocation.
func (r *Revocation) RecordNotFound(now time.Time) bool {
	overlooked := r.Attempts < maxDoubtedAttempts && now.After(r.NextAttempt.Add(UnfinishedAfter))
	if r.neverSeen() && (r.FirstNotFoundAt.IsZero() || overlooked) {
		r.FirstNotFoundAt = now
	}
	return r.MayStillAppear(now)
}

// InGrace reports whether consumers were promised that the token still works.
func (r *Revocation) InGrace(now time.Time) bool {
	return now.Before(r.NotBefore) && !r.NotYetCurrent()
}

// IsOf reports whether a credential contains the revocation's token. An unfinished revocation is compared by its
// service user's name: its token is unverified, and may belong to another service user.
func (r *Revocation) IsOf(cred *Credential) bool {
	switch {
	case cred == nil:
		return false
	case r.ID != "" && (r.Reason != ReasonUnfinished || r.Verified()):
		return cred.ID == r.ID
	default:
		return cred.IdentityType == modalapi.IdentityServiceUser && cred.Identity == r.Identity
	}
}

// IsDue reports whether the next attempt is due.
func (r *Revocation) IsDue(now time.Time) bool { return !now.Before(r.NextAttempt) }

// WithForce returns the revocation after an operator forced it: it is due now.
func (r Revocation) WithForce(now time.Time) *Revocation {
	r.Forced, r.NotBefore, r.NextAttempt = true, Earlier(r.Since, r.NotBefore), now
	return &r
}

// WithAttempt returns the revocation after an attempt that did not prove the token revoked.
func (r Revocation) WithAttempt(now time.Time, why string, jitter Jitter) *Revocation {
	wait := r.fail(now, why, jitter)
	r.NextAttempt = Later(r.NotBefore, now.Add(wait))
	if r.RefusedReason != "" { // first, something must change at Modal
		r.NextAttempt = now.Add(MaxBackOff)
	}
	if !r.FirstRejectedAt.IsZero() {
		r.NextAttempt = Later(now.Add(FirstBackOff), r.FirstRejectedAt.Add(SecondRejectionAfter))
	}
	if !r.FirstNotFoundAt.IsZero() && r.MayStillAppear(now) {
		r.NextAttempt = Later(r.NotBefore, r.FirstNotFoundAt.Add(UnfinishedAfter))
	}
	return &r
}

// Whose says in a message which role, or config, the token belongs to.
func (r *Revocation) Whose() string {
	switch {
	case r.Role != "":
		return "role " + r.Role
	case r.Reason == ReasonOrphan:
		return "no role here"
	}
	return "config"
}

// TooEarly returns the error for an attempt while the service user or token may still appear at Modal.
func (r *Revocation) TooEarly() error {
	if r.Reason == ReasonApproved {
		return UserErrorf("Modal rejects token %s, which was just approved and may not be known everywhere yet: the engine asks again until %s",
			r.ID, r.FirstNotFoundAt.Add(UnfinishedAfter).Format(time.RFC3339))
	}
	return UserErrorf("Modal has no service user %s, and may still be creating it: the engine asks again until %s",
		r.Identity, r.FirstNotFoundAt.Add(UnfinishedAfter).Format(time.RFC3339))
}

// About names a token of the revocation queue. Only tokens that were current have a version.
func (r *Revocation) About() string {
	switch {
	case r.Leased:
		return fmt.Sprintf("service user %s of a lease", r.Key())
	case r.Reason == ReasonApproved:
		return fmt.Sprintf("token %s of an approval", r.Key())
	case r.Version == 0:
		return fmt.Sprintf("service user %s of a rotation that did not finish", r.Key())
	}
	return fmt.Sprintf("token %s (version %d)", r.Key(), r.Version)
}
