// SPDX-License-Identifier: MPL-2.0

package model

import (
	"slices"
	"time"
)

// ExpiryWarnings lists how long before a token's expiry the engine warns. It warns only about tokens that it does not
// replace.
var ExpiryWarnings = []time.Duration{30 * Day, 7 * Day, Day}

// ExpiryStage says how many of ExpiryWarnings are due, or were given, for a token.
type ExpiryStage struct {
	// TokenID is the ID of the token.
	TokenID string
	// Expiry is when the token expires by the node's clock. A new expiry starts the warnings again.
	Expiry time.Time
	// Reached counts the warnings.
	Reached int
}

// ExpiryStageOf returns the warnings that are due now for a token that expires.
func ExpiryStageOf(t Token, now time.Time) ExpiryStage {
	left := t.LocalExpiry().Sub(now)
	reached := slices.IndexFunc(ExpiryWarnings, func(before time.Duration) bool { return left > before })
	if reached == -1 {
		reached = len(ExpiryWarnings)
	}
	return ExpiryStage{t.ID, t.LocalExpiry(), reached}
}

// replacesInTime reports whether the engine seems able to replace the current token by itself: the role rotates, and
// no rotation is failing or late.
func (r *Rotation) replacesInTime() bool {
	return r.Role.Managed != nil && !r.Role.Managed.Disabled && !r.Cred.Failing() && r.Late == 0
}

// Expiring reports whether the current token has expired or expires within 30 days, and the engine does not replace
// it by itself.
func (r *Rotation) Expiring(now time.Time) bool {
	return !r.Cred.ExpiresAt.IsZero() && r.Cred.LocalExpiry().Sub(now) <= ExpiryWarnings[0] && !r.replacesInTime()
}

// WarnAt returns when the next expiry warning of the current token is due, zero for never. If the engine rotates the
// role, the warning waits until the rotation is late.
func (r *Rotation) WarnAt(given ExpiryStage) time.Time {
	if r.Cred.ExpiresAt.IsZero() || given.Reached == len(ExpiryWarnings) {
		return time.Time{}
	}
	at := r.Cred.LocalExpiry().Add(-ExpiryWarnings[given.Reached])
	if r.replacesInTime() {
		return Later(at, r.Next.Add(RotationTolerance))
	}
	return at
}

// expiringWithin is how long before its expiry a token counts as expiring.
const expiringWithin = 30 * Day

// IsExpiring reports whether the current token expires within 30 days, and before the engine rotates it by itself.
func (r *Rotation) IsExpiring(now time.Time) bool {
	expires := r.Cred.ExpiresAt
	if expires.IsZero() || expires.After(now.Add(expiringWithin)) {
		return false
	}
	next := r.NextAttempt(now)
	return next.IsZero() || !next.Before(expires)
}
