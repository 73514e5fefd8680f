// SPDX-License-Identifier: MPL-2.0

package model

import "time"

// afterRotation is how long after a scheduled rotation a consumer finds the new token.
const afterRotation = 2 * time.Second

// Credential is a role's current token, with the state of its rotation.
type Credential struct {
	Token
	// GenerationID is that of the role. It tells this token from those of a deleted role of the same name.
	GenerationID string `json:"generation_id,omitempty"`
	// Version counts the role's tokens, from 1.
	Version int `json:"version"`
	// LastRotation is when the token became current. It changes exactly when the token changes.
	LastRotation time.Time `json:"last_rotation"`
	// NextRotation is when the engine replaces the token. It is zero if the engine does not replace it.
	NextRotation time.Time `json:"next_rotation,omitzero"`

	// Tries are the rotations that failed since LastRotation.
	Tries
	// NextAttempt is when the engine tries again after a failed rotation.
	NextAttempt time.Time `json:"next_attempt,omitzero"`

	// LastChecked is when the engine last asked Modal about the token.
	LastChecked time.Time `json:"checked,omitzero"`
	// RejectedSince is since when Modal rejects the token. It is zero while Modal accepts the token.
	RejectedSince time.Time `json:"rejected,omitzero"`
	// RolesDiffer says that the service user of the current token, or of a previous one, may have other environment
	// roles than the role's policy.
	RolesDiffer bool `json:"roles_differ,omitempty"`
}

// NewCredential returns the credential of a role's first token.
func NewCredential(r *Role, first Token, now time.Time, jitter Jitter) *Credential {
	return &Credential{
		Token: first, GenerationID: r.GenerationID, Version: 1,
		LastRotation: now, NextRotation: r.NextRotation(now, now, first.LocalExpiry(), jitter),
	}
}

// Successor returns the credential after a rotation. Consumers detect a rotation by its time. So the time is later
// than the last one, even if two rotations fall into one second or the clock went back.
func (c *Credential) Successor(r *Role, next Token, now time.Time, jitter Jitter) *Credential {
	since := Later(now, c.LastRotation.Add(time.Second))
	return &Credential{
		Token: next, GenerationID: c.GenerationID, Version: c.Version + 1, RolesDiffer: c.RolesDiffer,
		LastRotation: since, NextRotation: r.NextRotation(now, now, next.LocalExpiry(), jitter),
	}
}

// Rescheduled returns the credential under a changed policy. A rotation period counts from the last rotation, a
// schedule from now.
func (c Credential) Rescheduled(r *Role, now time.Time, jitter Jitter) *Credential {
	c.NextRotation = r.NextRotation(c.LastRotation, now, c.LocalExpiry(), jitter)
	return c.withoutStaleAttempts(now)
}

// withoutStaleAttempts returns the credential. If the next rotation is not due any more, it clears the failed
// attempts.
func (c Credential) withoutStaleAttempts(now time.Time) *Credential {
	if c.NextRotation.IsZero() || c.NextRotation.After(now) {
		c.succeed()
		c.NextAttempt = time.Time{}
	}
	return &c
}

// WithVerifiedToken returns the credential after Modal told more about its token. An earlier expiry brings the next
// rotation and the next attempt forward. A later expiry moves the next rotation only if the old expiry had set it.
func (c Credential) WithVerifiedToken(r *Role, t Token, now time.Time, jitter Jitter) *Credential {
	before, by := c.ExpiresAt, c.deadline()
	c.Token = t.WithPossibleOffset(now)
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

// WithVerification returns the credential after a verification.
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

// WithFailure returns the credential after a scheduled rotation that failed. The waiting time becomes shorter as the
// token's expiry comes near, so that a fault which ends before the expiry breaks no consumer.
func (c Credential) WithFailure(now time.Time, why error, jitter Jitter) *Credential {
	wait := c.fail(now, why.Error(), jitter)
	c.NextAttempt = now.Add(retryBefore(c.LocalExpiry(), now, wait))
	return &c
}

// retryBefore returns the waiting time before the next attempt. As the token's expiry comes near, it shortens the
// given waiting time to a quarter of the time left.
func retryBefore(expiry, now time.Time, wait time.Duration) time.Duration {
	if left := expiry.Sub(now); left > 0 {
		return min(wait, max(FirstBackOff, left/4))
	}
	return wait
}

// RotateBy returns when the token should be replaced. That is the engine's next rotation, if the engine rotates the
// role. Otherwise it is the end of the rotation period, or the token's expiry if that comes first.
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

// TTL returns how long a consumer may wait before it reads again. Times in the past do not shorten the wait.
// Otherwise consumers would read an overdue role every few seconds.
func (c *Credential) TTL(r *Role, now time.Time) time.Duration {
	wait := r.RefreshInterval
	next := Later(c.NextRotation, c.NextAttempt)
	if !c.RejectedSince.IsZero() {
		next = c.NextAttempt // a rejected token does not wait for its scheduled rotation
	}
	if left := next.Sub(now); left > 0 && !c.NextRotation.IsZero() {
		wait = min(wait, left+afterRotation)
	}
	if left := c.LocalExpiry().Sub(now); left > 0 {
		wait = min(wait, left)
	}
	return max(wait.Truncate(time.Second), MinTTL)
}
