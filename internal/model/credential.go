// SPDX-License-Identifier: MPL-2.0

package model

import "time"

// afterRotation is how long after a scheduled rotation a consumer finds the new token.
const afterRotation = 2 * time.Second

// Credential is a role's current token. Version counts the role's tokens from 1. LastRotation is when
// this token became current; it changes exactly when the token does. NextRotation is when the engine
// replaces it, zero where it does not; the rest tells of attempts that failed since LastRotation. Lineage
// tells the tokens of this role from those of a deleted one of the same name.
type Credential struct {
	Token
	GenerationID string    `json:"generation_id,omitempty"`
	Version      int       `json:"version"`
	LastRotation time.Time `json:"last_rotation"`
	NextRotation time.Time `json:"next_rotation,omitzero"`

	Attempts    int       `json:"attempts,omitempty"`
	LastAttempt time.Time `json:"last_attempt,omitzero"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	LastError   string    `json:"last_error,omitempty"`

	// Checked is when Modal was asked about the token last, and Refused since when Modal rejects it. A successor
	// begins without. Drifted says that the service user of the token, or of a previous one, may do something else
	// than the role says.
	LastChecked   time.Time `json:"checked,omitzero"`
	RejectedSince time.Time `json:"rejected,omitzero"`
	RolesDiffer   bool      `json:"roles_differ,omitempty"`
}

// NewCredential is a role's first one.
func NewCredential(r *Role, first Token, now time.Time, jitter Jitter) *Credential {
	return &Credential{
		Token: first, GenerationID: r.GenerationID, Version: 1,
		LastRotation: now, NextRotation: r.NextRotation(now, now, first.LocalExpiry(), jitter),
	}
}

// Successor is the credential after a rotation. Its time is later than the last one's even when two
// rotations fall into one second or the clock went back: consumers see a rotation by it.
func (c *Credential) Successor(r *Role, next Token, now time.Time, jitter Jitter) *Credential {
	since := Later(now, c.LastRotation.Add(time.Second))
	return &Credential{
		Token: next, GenerationID: c.GenerationID, Version: c.Version + 1, RolesDiffer: c.RolesDiffer,
		LastRotation: since, NextRotation: r.NextRotation(now, now, next.LocalExpiry(), jitter),
	}
}

// Rescheduled is the credential under a changed policy: a period counts from the last rotation, a
// schedule from now.
func (c Credential) Rescheduled(r *Role, now time.Time, jitter Jitter) *Credential {
	c.NextRotation = r.NextRotation(c.LastRotation, now, c.LocalExpiry(), jitter)
	return c.withoutStaleAttempts(now)
}

// withoutStaleAttempts is the credential without the attempts that failed, where the rotation that they were for is
// not due any more.
func (c Credential) withoutStaleAttempts(now time.Time) *Credential {
	if c.NextRotation.IsZero() || c.NextRotation.After(now) {
		c.Attempts, c.LastAttempt, c.NextAttempt, c.LastError = 0, time.Time{}, time.Time{}, ""
	}
	return &c
}

// WithVerifiedToken is the credential after Modal told more of its token. An expiry that comes sooner brings the next rotation
// and the next attempt forward. If the expiry before decided when the next rotation is, a later one moves it.
func (c Credential) WithVerifiedToken(r *Role, t Token, now time.Time, jitter Jitter) *Credential {
	before, by := c.ExpiresAt, c.deadline()
	if c.Token = t; c.ReceivedInTheFuture(now) { // a verification tells nothing of the clock then
		c.ClockOffset = 0
	}
	if c.ExpiresAt.Equal(before) || c.NextRotation.IsZero() {
		return &c
	}
	if c.NextRotation.Equal(by) {
		c = *c.Rescheduled(r, now, jitter)
	}
	if deadline := c.deadline(); !deadline.IsZero() {
		c.NextRotation = Earlier(c.NextRotation, deadline)
		c.NextAttempt = Earlier(c.NextAttempt, now.Add(retryBefore(c.LocalExpiry(), now, MaxBackOff)))
	}
	return &c
}

// WithVerification is the credential after a verification.
func (c Credential) WithVerification(now time.Time, v *Verification) *Credential {
	c.LastChecked, c.RolesDiffer = now, c.RolesDiffer || v.RolesDiffer
	switch {
	case v.Accepted:
		c.RejectedSince = time.Time{}
	case c.RejectedSince.IsZero():
		c.RejectedSince = now
	}
	return &c
}

// RepairTimes is the credential with times that can be right in place of those that cannot. A period counts
// from the last rotation, or from now where that is said to lie ahead.
func (c Credential) RepairTimes(r *Role, now time.Time, jitter Jitter) *Credential {
	c.NextAttempt = time.Time{}
	ahead := c.ReceivedInTheFuture(now)
	if ahead {
		c.ClockOffset = 0
	}
	if ahead || c.NextRotation.IsZero() || c.NextRotation.After(r.latestRotation(now)) {
		c.NextRotation = r.NextRotation(Earlier(now, c.LastRotation), now, c.LocalExpiry(), jitter)
	}
	return c.withoutStaleAttempts(now)
}

// WithFailure is the credential after a scheduled rotation that did not happen. The back-off shortens before
// the token expires, so that trouble which ends in time costs nothing.
func (c Credential) WithFailure(now time.Time, why error, jitter Jitter) *Credential {
	c.Attempts++
	wait := retryBefore(c.LocalExpiry(), now, backOff(c.Attempts, jitter))
	c.LastAttempt, c.NextAttempt, c.LastError = now, now.Add(wait), why.Error()
	return &c
}

// retryBefore is how long to wait before the next attempt, shorter as the expiry of the token comes near.
func retryBefore(expiry, now time.Time, wait time.Duration) time.Duration {
	if left := expiry.Sub(now); left > 0 {
		return min(wait, max(FirstBackOff, left/4))
	}
	return wait
}

// RotateBy is when the token should have been replaced: by the engine where it does so, else by an
// operator, at the end of the rotation period or at its expiry where that is sooner.
func (c *Credential) RotateBy(r *Role) time.Time {
	if !c.NextRotation.IsZero() {
		return c.NextRotation
	}
	due := c.LastRotation.Add(r.RotationPeriod)
	if !c.ExpiresAt.IsZero() && c.LocalExpiry().Before(due) {
		return c.LocalExpiry()
	}
	return due
}

// TTL is how long a consumer may wait before it reads again. Only what lies ahead shortens it, so
// that an overdue role is not polled every few seconds.
func (c *Credential) TTL(r *Role, now time.Time) time.Duration {
	wait := r.RefreshInterval
	if left := Later(c.NextRotation, c.NextAttempt).Sub(now); left > 0 && !c.NextRotation.IsZero() {
		wait = min(wait, left+afterRotation)
	}
	if left := c.LocalExpiry().Sub(now); left > 0 {
		wait = min(wait, left)
	}
	return max(wait.Truncate(time.Second), MinTTL)
}
