// SPDX-License-Identifier: MPL-2.0

package model

import (
	"slices"
	"time"
)

// ExpiryWarnings are how long before its expiry a token is warned about that the engine does not replace.
var ExpiryWarnings = []time.Duration{30 * Day, 7 * Day, Day}

// ExpiryStage is how many of expiryWarnings were given for a token with some expiry.
type ExpiryStage struct {
	TokenID string
	Expiry  time.Time
	Reached int
}

// ExpiryStageOf is the warning that is due now for a token that expires.
func ExpiryStageOf(t Token, now time.Time) ExpiryStage {
	left := t.LocalExpiry().Sub(now)
	reached := slices.IndexFunc(ExpiryWarnings, func(before time.Duration) bool { return left > before })
	if reached == -1 {
		reached = len(ExpiryWarnings)
	}
	return ExpiryStage{t.ID, t.LocalExpiry(), reached}
}

// replacesInTime reports whether the engine replaces the current token by itself, as far as it can tell now.
func (r *Rotation) replacesInTime() bool {
	return r.Role.Managed != nil && !r.Role.Managed.Disabled && r.Cred.Attempts == 0 && r.Late == 0
}

// Expiring reports whether the current token expires within a month, or has expired, and the engine does not replace
// it by itself.
func (r *Rotation) Expiring(now time.Time) bool {
	return !r.Cred.ExpiresAt.IsZero() && r.Cred.LocalExpiry().Sub(now) <= ExpiryWarnings[0] && !r.replacesInTime()
}

// WarnAt is when the expiry of the current token is to be warned of next, zero for never. A role that the engine
// rotates is looked at again when that is late.
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

// IsExpiring reports whether the current token expires soon, before the engine rotates it by itself.
func (r *Rotation) IsExpiring(now time.Time) bool {
	expires := r.Cred.ExpiresAt
	if expires.IsZero() || expires.After(now.Add(expiringWithin)) {
		return false
	}
	next := r.NextAttempt(now)
	return next.IsZero() || !next.Before(expires)
}
