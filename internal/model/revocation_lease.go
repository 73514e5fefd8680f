// SPDX-License-Identifier: MPL-2.0

package model

import "time"

// ForLease is the revocation of a lease's token, due when no lease can run any more.
func (r Revocation) ForLease(t Token, rights Access, now time.Time, life time.Duration) *Revocation {
	r.Token, r.Rights, r.Reason, r.Since = t, rights, ReasonLease, now
	r.NotBefore = now.Add(life)
	r.NextAttempt = r.NotBefore
	return &r
}

// IsRunningLease reports whether the entry belongs to a living lease: nobody has begun to end its token.
func (r *Revocation) IsRunningLease(now time.Time) bool {
	return r.Reason == ReasonLease && !r.DeletionStarted && !r.Forced && now.Before(r.NotBefore)
}

// IsSettled reports whether Modal answered about the service user of a creation that failed: Modal did not know the
// service user, or deleted it. If Modal did not know it, the worker asks a second time, ten minutes later.
func (r *Revocation) IsSettled() bool { return !r.FirstNotFoundAt.IsZero() || r.Acknowledged }

// Exceeds reports whether the service user of a living lease may do more than most allows.
func (r *Revocation) Exceeds(most *Access) bool {
	return r.Reason == ReasonLease && !r.DeletionStarted && !r.Rights.Within(most)
}
