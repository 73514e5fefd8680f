// SPDX-License-Identifier: MPL-2.0

package model

import "time"

// ForLease returns the revocation of a lease's token. It is due when the lease can no longer run.
func (r Revocation) ForLease(t Token, rights Access, now time.Time, life time.Duration) *Revocation {
	r.Token, r.Rights, r.Reason, r.Since = t, rights, ReasonLease, now
	r.NotBefore = now.Add(life)
	r.NextAttempt = r.NotBefore
	return &r
}

// IsRunningLease reports whether the lease of this token still runs: it is not over, and the engine has not started
// to delete the token.
func (r *Revocation) IsRunningLease(now time.Time) bool {
	return r.Reason == ReasonLease && !r.DeletionStarted && !r.Forced && now.Before(r.NotBefore)
}

// ModalAnswered reports whether Modal answered about the service user of a failed creation: Modal did not know it, or has
// deleted it. If Modal did not know it, the worker asks a second time, ten minutes later.
func (r *Revocation) ModalAnswered() bool { return !r.FirstNotFoundAt.IsZero() || r.Acknowledged }

// Exceeds reports whether the service user of a running lease has more rights than most.
func (r *Revocation) Exceeds(most *Access) bool {
	return r.Reason == ReasonLease && !r.DeletionStarted && !r.Rights.Within(most)
}
