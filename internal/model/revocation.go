// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// RefuseBorrowed says of a lease's token why it is left alone, to whoever asks for more.
func (r *Revocation) RefuseBorrowed() error {
	return UserErrorf("token %s is a lease's of role %s, and was brought, unproven, to another role or as the admin token, which uses it: "+
		"bring another token there first; the entry stays", r.ID, r.Role)
}

// MayBeInUse reports whether the token lives on at this time if it is used. Until then the engine calls Modal with it
// only for an undo, because Modal takes each call for a use.
func (r *Revocation) MayBeInUse(now time.Time) bool {
	return !r.Forced && !r.DeletionStarted && now.Before(r.HoldUntil)
}

// InUse is the entry of a token that is used still.
func (r Revocation) InUse(now time.Time) *Revocation {
	r.WasInUse, r.Attempts, r.LastError = true, 0, ""
	r.NextAttempt = Earlier(now.Add(max(r.Refresh, time.Minute)), r.HoldUntil)
	return &r
}

// IsInUse says whether the last look found the token used still: one that the engine has begun to end is held
// no more.
func (r *Revocation) IsInUse() bool { return r.WasInUse && !r.DeletionStarted && r.Attempts == 0 }

// WhoseFor tells in a message whether a token was of the role that the caller writes, or of another one, which
// it does not name.
func (r *Revocation) WhoseFor(name string) string {
	switch {
	case r.Role != "" && r.Role == name:
		return ", of this role"
	case r.Role != "":
		return ", of another role of this mount"
	}
	return ""
}

// UnfinishedAfter is when the worker may end a candidate whose rotation did not end it. It is
// longer than a rotation can take.
const UnfinishedAfter = 10 * time.Minute

// MintBudget bounds the calls to Modal of one rotation, waiting for a new token included.
const MintBudget = 45 * time.Second

// WithoutToken returns the revocation without the token and ID that Modal's answer brought: only the service user's name
// stays.
func (r Revocation) WithoutToken() *Revocation {
	r.Token = Token{
		IdentityType: r.IdentityType, Identity: r.Identity, WorkspaceID: r.WorkspaceID, Workspace: r.Workspace,
		ServerURL: r.ServerURL, CreatedByMount: r.CreatedByMount,
	}
	return &r
}

// DeletionText is what the engine does to end the token.
func (r *Revocation) DeletionText() string {
	if r.IdentityType == modalapi.IdentityServiceUser {
		return "delete " + r.QuotedServiceUser()
	}
	return fmt.Sprintf("have token %s delete itself", r.ID)
}

// Why a token is in the ledger.
const (
	ReasonRotated     = "rotated"
	ReasonUndone      = "undone"
	ReasonRoleDeleted = "role deleted"
	ReasonUnfinished  = "unfinished"
	ReasonLease       = "lease"
	ReasonOrphan      = "orphan"
	// A person approved the token in a browser, and it is not, or not yet, in use.
	ReasonApproved      = "approved"
	ReasonAdminReplaced = "admin token replaced"
	ReasonAdminRemoved  = "admin token removed"
)

// How a token ends. Automatic: the engine deletes the service user that owns it, or has a member token
// delete itself. Manual: a person makes Modal refuse it.
const (
	MethodAutomatic = "automatic"
	MethodManual    = "manual"
)

// Revocation is an entry of the ledger: a token that the engine still has to see refused. An unfinished
// one is made before its token and known by the service user's name. NotBefore is when the engine
// begins; NextAttempt when it tries again. Forced: an operator wants it ended now. Begun: it may be ended
// at Modal already, so it never becomes current again. Acknowledged: Modal said that it deleted it, and
// Unconfirmed: it accepts it all the same. Declined is what Modal said when it would not. Role is empty
// for what was config's.
type Revocation struct {
	Token
	Role            string    `json:"role"`
	GenerationID    string    `json:"generation_id,omitempty"`
	Version         int       `json:"version"`
	Reason          string    `json:"reason"`
	Method          string    `json:"method"`
	Since           time.Time `json:"since"`
	NotBefore       time.Time `json:"not_before"`
	Attempts        int       `json:"attempts,omitempty"`
	LastAttempt     time.Time `json:"last_attempt,omitzero"`
	NextAttempt     time.Time `json:"next_attempt"`
	LastError       string    `json:"last_error,omitempty"`
	Forced          bool      `json:"forced,omitempty"`
	DeletionStarted bool      `json:"deletion_started,omitempty"`
	Unconfirmed     bool      `json:"unconfirmed,omitempty"`

	// Leased says that the token is a lease's, or is made for one. HoldUntil is how long the token lives on
	// while it is used, and Held that it was; Refresh is how often its consumers read.
	Leased    bool          `json:"leased,omitempty"`
	HoldUntil time.Time     `json:"hold_until,omitzero"`
	Refresh   time.Duration `json:"refresh,omitempty"`
	WasInUse  bool          `json:"in_use,omitempty"`
	LastUsed  time.Time     `json:"last_used_at,omitzero"`
	// Rights is what the service user of a lease may do, as Modal was last seen to have it.
	Rights Access `json:"rights,omitzero"`

	Acknowledged  bool   `json:"acknowledged,omitempty"`
	RefusedReason string `json:"refused_reason,omitempty"`
	// FirstRejectedAt is when Modal first rejected the token while there was no witness: see compareWithWitness.
	FirstRejectedAt time.Time `json:"first_rejected_at,omitzero"`
	// Missing is when Modal was first seen not to know an unfinished service user, or an approved token.
	FirstNotFoundAt time.Time `json:"first_not_found_at,omitzero"`
}

// Key is the entry's ID, in storage and for operators.
func (r *Revocation) Key() string {
	if r.Reason == ReasonUnfinished || r.Reason == ReasonLease || r.Reason == ReasonOrphan {
		return r.Identity
	}
	return r.ID
}

// CanDelete says whether the engine may end the token: with the admin token a service user that this mount
// made, with its own pair a member's, and any on an operator's word. Of a token that Modal was never asked
// about the engine does not know what it is.
func (r *Revocation) CanDelete() bool {
	switch r.IdentityType {
	case modalapi.IdentityServiceUser:
		return r.Forced || r.Reason == ReasonUnfinished || (r.CreatedByMount && r.Method == MethodAutomatic)
	case modalapi.IdentityUser:
		return r.Forced || r.Method == MethodAutomatic
	}
	return r.Reason == ReasonApproved // people approve no other tokens than their own
}

// Means is who makes Modal refuse the token as things are: what Modal would not let the engine do is for
// people.
func (r *Revocation) Means() string {
	if r.RefusedReason != "" {
		return MethodManual
	}
	return r.Method
}

// NotYetCurrent says that the token is on its way to being current, or was and did not get there.
func (r *Revocation) NotYetCurrent() bool {
	return r.Reason == ReasonUnfinished || r.Reason == ReasonApproved
}

// MayReturn reports whether the token may become current again. From the moment when the engine began to delete the
// token, it may not.
func (r *Revocation) MayReturn() bool { return !r.DeletionStarted && !r.Forced }

// IsOfGeneration reports whether the token was of this very role, and not of a deleted role of the same name.
func (r *Revocation) IsOfGeneration(role *Role) bool {
	return role != nil && r.GenerationID == role.GenerationID
}

// HasConfirmedID reports whether Modal confirmed that IdentityID belongs to the service user's name. The answer to a
// creation confirms nothing: it may be about another service user.
func (r *Revocation) HasConfirmedID() bool {
	return r.IdentityID != "" && (r.Verified() || r.Reason == ReasonOrphan)
}

// WasAccepted says whether the pair is one that Modal accepted or gave out itself: then that it refuses the pair
// says something.
func (r *Revocation) WasAccepted() bool {
	return r.Verified() || (r.CreatedByMount && r.Secret != "") || r.Reason == ReasonApproved
}

// neverSeen says that Modal was never seen to know the service user, or the token that a person approved.
func (r *Revocation) neverSeen() bool {
	return r.Reason == ReasonUnfinished || (r.Reason == ReasonApproved && !r.Verified())
}

// MayStillAppear says that Modal may still be making the service user, or learning of the token: that it does not
// know it, or refuses it, proves nothing until it was so for a while. That is counted from the first look,
// not from the create: the clock may have been put right in between.
func (r *Revocation) MayStillAppear(now time.Time) bool {
	return r.neverSeen() && (r.FirstNotFoundAt.IsZero() || now.Before(r.FirstNotFoundAt.Add(UnfinishedAfter)))
}

// doubted is how many looks at an entry may find that another clock dated it.
const doubted = 3

// RecordNotFound is fresh for a look that did not find the service user, and notes the first one. A look that
// should have been long ago counts as the first, as the engine did not run or another clock dated the
// entry, and so does one after a look that lies ahead.
func (r *Revocation) RecordNotFound(now time.Time) bool {
	overlooked := r.Attempts < doubted && now.After(r.NextAttempt.Add(UnfinishedAfter))
	if r.neverSeen() && (r.FirstNotFoundAt.IsZero() || r.FirstNotFoundAt.After(now) || overlooked) {
		r.FirstNotFoundAt = now
	}
	return r.MayStillAppear(now)
}

// InGrace says whether consumers were promised that the token works still.
func (r *Revocation) InGrace(now time.Time) bool {
	return now.Before(r.NotBefore) && !r.NotYetCurrent()
}

// IsOf reports whether a credential holds the revocation's token. An unfinished one is compared by its service user's
// name: the token in it is unverified, and may be another service user's.
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

// HasImpossibleTimes says that a node with a clock far ahead wrote the entry: nothing must live on until then.
func (r *Revocation) HasImpossibleTimes(now time.Time) bool {
	return r.Since.After(now.Add(ClockSlack)) || r.LastAttempt.After(now) || r.NextAttempt.After(Later(r.NotBefore, now).Add(max(MaxBackOff, r.Refresh)))
}

// RepairTimes is the entry with times that can be right: the grace period, whole, from now.
func (r Revocation) RepairTimes(now time.Time) *Revocation {
	if r.Since.After(now.Add(ClockSlack)) {
		if !r.HoldUntil.IsZero() {
			r.HoldUntil = now.Add(max(0, r.HoldUntil.Sub(r.Since)))
		}
		r.Since, r.NotBefore = now, now.Add(max(0, r.NotBefore.Sub(r.Since)))
		r.NextAttempt = r.NotBefore
	}
	if r.HasImpossibleTimes(now) {
		r.LastAttempt, r.NextAttempt = Earlier(r.LastAttempt, now), Later(r.NotBefore, now)
	}
	return &r
}

// DueNow is the entry of a token that is wanted by nobody. Where this clock is far ahead of the one before it
// moves the whole entry, so that misdated sees it.
func (r Revocation) DueNow(now time.Time) *Revocation {
	if now.After(r.Since.Add(ClockSlack)) {
		r.Since = now
	}
	r.NotBefore, r.NextAttempt = now, now
	return &r
}

// WithForce is the entry after an operator's word that it should end now.
func (r Revocation) WithForce(now time.Time) *Revocation {
	r.Forced, r.NotBefore, r.NextAttempt = true, Earlier(r.Since, r.NotBefore), now
	return &r
}

// WithAttempt is the entry after an attempt that did not see the token refused.
func (r Revocation) WithAttempt(now time.Time, why string, jitter Jitter) *Revocation {
	r.Attempts++
	r.LastAttempt = now
	r.LastError = why
	r.NextAttempt = Later(r.NotBefore, now.Add(backOff(r.Attempts, jitter)))
	if r.RefusedReason != "" { // Modal, or who may do what there, has to change first
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

// Whose names what a token was of, in a message.
func (r *Revocation) Whose() string {
	switch {
	case r.Role != "":
		return "role " + r.Role
	case r.Reason == ReasonOrphan:
		return "no role here"
	}
	return "config"
}

// TooEarly returns the error for an attempt within the grace period.
func (r *Revocation) TooEarly() error {
	if r.Reason == ReasonApproved {
		return UserErrorf("Modal rejects token %s, which was just approved and may not be known everywhere yet: the engine asks again until %s",
			r.ID, r.FirstNotFoundAt.Add(UnfinishedAfter).Format(time.RFC3339))
	}
	return UserErrorf("Modal has no service user %s, and may still be creating it: the engine asks again until %s",
		r.Identity, r.FirstNotFoundAt.Add(UnfinishedAfter).Format(time.RFC3339))
}

// About names a token of the revocation queue. Only those that were current have a version.
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
