// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// Why a token is in the ledger.
const (
	reasonRotated     = "rotated"
	reasonUndone      = "undone"
	reasonRoleDeleted = "role deleted"
	reasonUnfinished  = "unfinished"
	reasonLease       = "lease"
	reasonOrphan      = "orphan"
	// A person approved the token in a browser, and it is not, or not yet, in use.
	reasonApproved      = "approved"
	reasonAdminReplaced = "admin token replaced"
	reasonAdminRemoved  = "admin token removed"
)

// How a token ends. Automatic: the engine deletes the service user that owns it, or has a member token
// delete itself. Manual: a person makes Modal refuse it.
const (
	methodAutomatic = "automatic"
	methodManual    = "manual"
)

const (
	firstBackOff = time.Minute
	maxBackOff   = 6 * time.Hour
)

const tokensPage = "https://modal.com/settings/tokens"

// clockSlack is how far two nodes' clocks may lie apart before one's dates are not believed.
const clockSlack = Day

// Revocation is an entry of the ledger: a token that the engine still has to see refused. An unfinished
// one is made before its token and known by the service user's name. NotBefore is when the engine
// begins; NextAttempt when it tries again. Forced: an operator wants it ended now. Begun: it may be ended
// at Modal already, so it never becomes current again. Acknowledged: Modal said that it deleted it, and
// Unconfirmed: it accepts it all the same. Declined is what Modal said when it would not. Role is empty
// for what was config's.
type Revocation struct {
	Token
	Role        string    `json:"role"`
	Lineage     string    `json:"generation_id,omitempty"`
	Version     int       `json:"version"`
	Reason      string    `json:"reason"`
	Method      string    `json:"method"`
	Since       time.Time `json:"since"`
	NotBefore   time.Time `json:"not_before"`
	Attempts    int       `json:"attempts,omitempty"`
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	NextAttempt time.Time `json:"next_attempt"`
	LastError   string    `json:"last_error,omitempty"`
	Forced      bool      `json:"forced,omitempty"`
	Begun       bool      `json:"deletion_started,omitempty"`
	Unconfirmed bool      `json:"unconfirmed,omitempty"`

	// Leased says that the token is a lease's, or is made for one. HoldUntil is how long the token lives on
	// while it is used, and Held that it was; Refresh is how often its consumers read.
	Leased    bool          `json:"leased,omitempty"`
	HoldUntil time.Time     `json:"hold_until,omitzero"`
	Refresh   time.Duration `json:"refresh,omitempty"`
	Held      bool          `json:"in_use,omitempty"`
	LastUsed  time.Time     `json:"last_used_at,omitzero"`
	// Rights is what the service user of a lease may do, as Modal was last seen to have it.
	Rights Access `json:"rights,omitzero"`

	Acknowledged bool   `json:"acknowledged,omitempty"`
	Declined     string `json:"refused_reason,omitempty"`
	// FirstRejectedAt is when Modal first rejected the token while there was no witness: see compareWithWitness.
	FirstRejectedAt time.Time `json:"first_rejected_at,omitzero"`
	// Missing is when Modal was first seen not to know an unfinished service user, or an approved token.
	Missing time.Time `json:"first_not_found_at,omitzero"`
}

// Key is the entry's ID, in storage and for operators.
func (r *Revocation) Key() string {
	if r.Reason == reasonUnfinished || r.Reason == reasonLease || r.Reason == reasonOrphan {
		return r.Identity
	}
	return r.ID
}

// ours says whether the engine may end the token: with the admin token a service user that this mount
// made, with its own pair a member's, and any on an operator's word. Of a token that Modal was never asked
// about the engine does not know what it is.
func (r *Revocation) ours() bool {
	switch r.IdentityType {
	case modalapi.IdentityServiceUser:
		return r.Forced || r.Reason == reasonUnfinished || (r.Made && r.Method == methodAutomatic)
	case modalapi.IdentityUser:
		return r.Forced || r.Method == methodAutomatic
	}
	return r.Reason == reasonApproved // people approve no other tokens than their own
}

// Means is who makes Modal refuse the token as things are: what Modal would not let the engine do is for
// people.
func (r *Revocation) Means() string {
	if r.Declined != "" {
		return methodManual
	}
	return r.Method
}

// unclaimed says that the token is on its way to being current, or was and did not get there.
func (r *Revocation) unclaimed() bool {
	return r.Reason == reasonUnfinished || r.Reason == reasonApproved
}

// mayReturn reports whether the token may become current again. From the moment when the engine began to delete the
// token, it may not.
func (r *Revocation) mayReturn() bool { return !r.Begun && !r.Forced }

// isOfGeneration reports whether the token was of this very role, and not of a deleted role of the same name.
func (r *Revocation) isOfGeneration(role *Role) bool {
	return role != nil && r.Lineage == role.GenerationID
}

// hasConfirmedID reports whether Modal confirmed that IdentityID belongs to the service user's name. The answer to a
// creation confirms nothing: it may be about another service user.
func (r *Revocation) hasConfirmedID() bool {
	return r.IdentityID != "" && (r.Verified() || r.Reason == reasonOrphan)
}

// known says whether the pair is one that Modal accepted or gave out itself: then that it refuses the pair
// says something.
func (r *Revocation) known() bool {
	return r.Verified() || (r.Made && r.Secret != "") || r.Reason == reasonApproved
}

// young says that Modal was never seen to know the service user, or the token that a person approved.
func (r *Revocation) young() bool {
	return r.Reason == reasonUnfinished || (r.Reason == reasonApproved && !r.Verified())
}

// fresh says that Modal may still be making the service user, or learning of the token: that it does not
// know it, or refuses it, proves nothing until it was so for a while. That is counted from the first look,
// not from the create: the clock may have been put right in between.
func (r *Revocation) fresh(now time.Time) bool {
	return r.young() && (r.Missing.IsZero() || now.Before(r.Missing.Add(unfinishedAfter)))
}

// doubted is how many looks at an entry may find that another clock dated it.
const doubted = 3

// missed is fresh for a look that did not find the service user, and notes the first one. A look that
// should have been long ago counts as the first, as the engine did not run or another clock dated the
// entry, and so does one after a look that lies ahead.
func (r *Revocation) missed(now time.Time) bool {
	overlooked := r.Attempts < doubted && now.After(r.NextAttempt.Add(unfinishedAfter))
	if r.young() && (r.Missing.IsZero() || r.Missing.After(now) || overlooked) {
		r.Missing = now
	}
	return r.fresh(now)
}

// inGrace says whether consumers were promised that the token works still.
func (r *Revocation) inGrace(now time.Time) bool {
	return now.Before(r.NotBefore) && !r.unclaimed()
}

// isOf reports whether a credential holds the revocation's token. An unfinished one is compared by its service user's
// name: the token in it is unverified, and may be another service user's.
func (r *Revocation) isOf(cred *Credential) bool {
	switch {
	case cred == nil:
		return false
	case r.ID != "" && (r.Reason != reasonUnfinished || r.Verified()):
		return cred.ID == r.ID
	default:
		return cred.IdentityType == modalapi.IdentityServiceUser && cred.Identity == r.Identity
	}
}

func (r *Revocation) due(now time.Time) bool { return !now.Before(r.NextAttempt) }

// misdated says that a node with a clock far ahead wrote the entry: nothing must live on until then.
func (r *Revocation) misdated(now time.Time) bool {
	return r.Since.After(now.Add(clockSlack)) || r.LastAttempt.After(now) || r.NextAttempt.After(later(r.NotBefore, now).Add(max(maxBackOff, r.Refresh)))
}

// redated is the entry with times that can be right: the grace period, whole, from now.
func (r Revocation) redated(now time.Time) *Revocation {
	if r.Since.After(now.Add(clockSlack)) {
		if !r.HoldUntil.IsZero() {
			r.HoldUntil = now.Add(max(0, r.HoldUntil.Sub(r.Since)))
		}
		r.Since, r.NotBefore = now, now.Add(max(0, r.NotBefore.Sub(r.Since)))
		r.NextAttempt = r.NotBefore
	}
	if r.misdated(now) {
		r.LastAttempt, r.NextAttempt = earlier(r.LastAttempt, now), later(r.NotBefore, now)
	}
	return &r
}

// dueNow is the entry of a token that is wanted by nobody. Where this clock is far ahead of the one before it
// moves the whole entry, so that misdated sees it.
func (r Revocation) dueNow(now time.Time) *Revocation {
	if now.After(r.Since.Add(clockSlack)) {
		r.Since = now
	}
	r.NotBefore, r.NextAttempt = now, now
	return &r
}

// forced is the entry after an operator's word that it should end now.
func (r Revocation) forced(now time.Time) *Revocation {
	r.Forced, r.NotBefore, r.NextAttempt = true, earlier(r.Since, r.NotBefore), now
	return &r
}

// tried is the entry after an attempt that did not see the token refused.
func (r Revocation) tried(now time.Time, why string) *Revocation {
	r.Attempts++
	r.LastAttempt = now
	r.LastError = why
	r.NextAttempt = later(r.NotBefore, now.Add(backOff(r.Attempts)))
	if r.Declined != "" { // Modal, or who may do what there, has to change first
		r.NextAttempt = now.Add(maxBackOff)
	}
	if !r.FirstRejectedAt.IsZero() {
		r.NextAttempt = later(now.Add(firstBackOff), r.FirstRejectedAt.Add(secondRejectionAfter))
	}
	if !r.Missing.IsZero() && r.fresh(now) {
		r.NextAttempt = later(r.NotBefore, r.Missing.Add(unfinishedAfter))
	}
	return &r
}

// Ledger returns all entries that can be read, the one due first first, and the IDs of the others.
func (e *Engine) Ledger(ctx context.Context) (entries []*Revocation, unreadable []string, err error) {
	ids, err := e.revocations.List(ctx)
	if err != nil {
		return nil, nil, err
	}
	all, failures := make([]*Revocation, len(ids)), make([]error, len(ids))
	eachOf(ids, maxConcurrentReads, func(i int, id string) { all[i], failures[i] = e.revocations.Get(ctx, id) })
	for i, failed := range failures {
		if failed != nil {
			e.log().Error("an entry of the ledger cannot be read", "id", ids[i], "error", failed)
			unreadable = append(unreadable, ids[i])
		}
	}
	entries = slices.DeleteFunc(all, func(entry *Revocation) bool { return entry == nil })
	slices.SortStableFunc(entries, func(x, y *Revocation) int { return x.NextAttempt.Compare(y.NextAttempt) })
	return entries, unreadable, nil
}

// whose names what a token was of, in a message.
func (r *Revocation) whose() string {
	switch {
	case r.Role != "":
		return "role " + r.Role
	case r.Reason == reasonOrphan:
		return "no role here"
	}
	return "config"
}

// entriesOf returns the revocations of one role that can be read, the leases of a dynamic role included. A role that
// does not exist has those of all deleted roles of its name; a role that exists has none of theirs.
func (e *Engine) entriesOf(ctx context.Context, name string) ([]*Revocation, error) {
	r, err := e.roles.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	entries, _, err := e.Ledger(ctx)
	return slices.DeleteFunc(entries, func(entry *Revocation) bool {
		return entry.Role != name || (r != nil && !entry.isOfGeneration(r))
	}), err
}

// leasesOf returns the revocations of a role's leases, also of those that reads are creating.
func (e *Engine) leasesOf(ctx context.Context, name string) ([]*Revocation, error) {
	entries, err := e.entriesOf(ctx, name)
	return slices.DeleteFunc(entries, func(entry *Revocation) bool { return !entry.Leased }), err
}

// previousTokens returns the revocations of tokens that were, or may have become, a role's current token. Leases are
// not among them.
func (e *Engine) previousTokens(ctx context.Context, name string) ([]*Revocation, error) {
	entries, err := e.entriesOf(ctx, name)
	return slices.DeleteFunc(entries, func(entry *Revocation) bool { return entry.Leased }), err
}

// backOff is how long to wait after so many attempts: doubling from a minute to six hours, jittered.
func backOff(attempts int) time.Duration {
	wait := min(firstBackOff<<min(attempts, 10), maxBackOff)
	return wait/2 + jitter(wait/2)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
