// SPDX-License-Identifier: MPL-2.0

package model

import "time"

// MayBeInUse reports whether the token may live on because a consumer uses it. While that is so, the engine does not
// call Modal with the token, because Modal counts each call as a use. An undo is the only exception: the token must
// become current, and becomes current only after Modal accepted it.
func (r *Revocation) MayBeInUse(now time.Time) bool {
	return !r.Forced && !r.DeletionStarted && now.Before(r.HoldUntil)
}

// CountsAsUse reports whether a use keeps the token: the use is later than the rotation, and not longer ago than two
// refresh intervals. The time is by Modal's clock.
func (r *Revocation) CountsAsUse(at, now time.Time) bool {
	return at.Add(r.ClockOffset).After(Later(r.Since, now.Add(-2*r.Refresh)))
}

// InUse returns the revocation of a token that is still used.
func (r Revocation) InUse(now time.Time) *Revocation {
	r.WasInUse = true
	r.succeed()
	r.NextAttempt = Earlier(now.Add(max(r.Refresh, time.Minute)), r.HoldUntil)
	return &r
}

// IsInUse reports whether the token was still used at the last check. It is false once the engine has started to
// delete the token.
func (r *Revocation) IsInUse() bool { return r.WasInUse && !r.DeletionStarted && !r.Failing() }
