// SPDX-License-Identifier: MPL-2.0

package model

import (
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/duration"
	"vault-plugin-secrets-modal/internal/modalapi"
)

// Day is 24 hours.
const Day = 24 * time.Hour

// Jitter returns a random part of a duration, and zero for a duration of zero or less. Callers pass it in, so that
// the rules in this package have no randomness of their own.
type Jitter func(most time.Duration) time.Duration

// Later returns the later of two times.
func Later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Earlier returns the earlier of two times.
func Earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// WholeSeconds returns a time as it is stored: in UTC and whole seconds.
func WholeSeconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}

// The rest of this file has the rules about wrong clocks. A node whose clock ran ahead stores times that lie in the
// future of the next node, or of the same node after its clock was set right.
//
//   - HasImpossibleTimes judges a stored entry when the engine reads the entry. An entry with impossible times is due
//     at once.
//   - RepairTimes gives the entry possible times. The engine calls it under the entry's lock, and stores the result
//     before it does anything else.
//   - A clock offset says how far the node's clock was ahead of Modal's.

// clockSlack is how far the clocks of two nodes may differ.
const clockSlack = Day

// isAhead reports whether the time of a past event lies so far ahead that a wrong clock stored it.
func isAhead(at, now time.Time) bool { return at.After(now.Add(clockSlack)) }

// HasImpossibleTimes reports whether a node whose clock ran far ahead began the approval, or ended one of its flows.
func (a *Approval) HasImpossibleTimes(now time.Time) bool {
	return isAhead(a.Began, now) || slices.ContainsFunc(a.EndedFlows, func(f EndedFlow) bool { return isAhead(f.Until.Add(-EndedFlowLife), now) })
}

// RepairTimes returns the approval with possible times. Its whole waiting time counts from now. The engine asks about
// each ended flow for as long as if the flow had ended now, at most.
func (a Approval) RepairTimes(now time.Time) *Approval {
	if isAhead(a.Began, now) {
		a.Began, a.Lapses = now, now.Add(a.Lapses.Sub(a.Began))
	}
	a.EndedFlows = slices.Clone(a.EndedFlows)
	for i, late := range a.EndedFlows {
		a.EndedFlows[i].Until = Earlier(late.Until, now.Add(EndedFlowLife))
	}
	return &a
}

// HasImpossibleTimes reports whether a node whose clock ran ahead wrote the revocation. The token must not live until
// that time.
func (r *Revocation) HasImpossibleTimes(now time.Time) bool {
	last := Later(r.LastAttempt, Later(r.FirstRejectedAt, r.FirstNotFoundAt))
	return isAhead(r.Since, now) || last.After(now) || r.NextAttempt.After(Later(r.NotBefore, now).Add(max(MaxBackOff, r.Refresh)))
}

// RepairTimes returns the revocation with possible times. The whole grace period and extension count from now.
func (r Revocation) RepairTimes(now time.Time) *Revocation {
	if isAhead(r.Since, now) {
		if !r.HoldUntil.IsZero() {
			r.HoldUntil = now.Add(max(0, r.HoldUntil.Sub(r.Since)))
		}
		r.Since, r.NotBefore = now, now.Add(max(0, r.NotBefore.Sub(r.Since)))
		r.NextAttempt = r.NotBefore
	}
	if r.HasImpossibleTimes(now) {
		r.NextAttempt = Later(r.NotBefore, now)
		for _, past := range []*time.Time{&r.LastAttempt, &r.FirstRejectedAt, &r.FirstNotFoundAt} {
			*past = Earlier(*past, now)
		}
	}
	return &r
}

// DueAt returns when the worker processes the revocation.
func (r *Revocation) DueAt(now time.Time) time.Time {
	if r.HasImpossibleTimes(now) {
		return now
	}
	return r.NextAttempt
}

// DueNow returns the revocation, due now, of a token that nobody uses. If this clock is far ahead of the clock that
// wrote Since, Since moves too. Then HasImpossibleTimes finds the revocation after the clock is set right.
func (r Revocation) DueNow(now time.Time) *Revocation {
	if isAhead(now, r.Since) {
		r.Since = now
	}
	r.NotBefore, r.NextAttempt = now, now
	return &r
}

// HasImpossibleTimes reports whether the credential's times cannot be right: either its next rotation, or an attempt
// later than any back-off.
func (r *Rotation) HasImpossibleTimes(now time.Time) bool {
	return r.hasImpossibleNext(now) || r.Cred.NextAttempt.After(now.Add(MaxBackOff))
}

// hasImpossibleNext reports whether the next rotation cannot be right. A missing next rotation comes from a change of
// policy that was stored only in part. A next rotation later than the policy allows, and a token received in the
// future, come from a node whose clock ran ahead.
func (r *Rotation) hasImpossibleNext(now time.Time) bool {
	return r.Cred.receivedInTheFuture(now) || r.Cred.NextRotation.IsZero() || r.Cred.NextRotation.After(r.Role.latestRotation(now))
}

// RepairTimes returns the rotation with possible times. A rotation period counts from the last rotation, or from now
// if the last rotation lies in the future.
func (r *Rotation) RepairTimes(now time.Time, jitter Jitter) *Rotation {
	c := *r.Cred
	if r.hasImpossibleNext(now) {
		c.Token = c.WithPossibleOffset(now)
		c.NextRotation = r.Role.NextRotation(Earlier(now, c.LastRotation), now, c.LocalExpiry(), jitter)
	}
	c.NextAttempt = time.Time{}
	return NewRotation(r.Name, r.Role, c.withoutStaleAttempts(now), now)
}

// lastKnown returns when a token was last known to work. It ignores impossible times. It is zero if the engine must
// ask now, because the time of the last check is impossible.
func lastKnown(now, checked time.Time, others ...time.Time) (last time.Time) {
	if isAhead(checked, now) {
		return time.Time{}
	}
	last = checked
	for _, at := range others {
		if !isAhead(at, now) {
			last = Later(last, at)
		}
	}
	return last
}

// clockTolerance is how far two clocks may differ before a warning.
const clockTolerance = 5 * time.Minute

// WithClockOffset returns the token with its clock offset. Modal created the token between asked and received. If
// Modal names another time, the clocks differ, and the token's life counts from the moment when the engine received
// the token.
func (t Token) WithClockOffset(asked, received time.Time) Token {
	t.ClockOffset = 0
	if !t.CreatedAt.IsZero() && (t.CreatedAt.Before(WholeSeconds(asked)) || t.CreatedAt.After(received)) {
		t.ClockOffset = WholeSeconds(received).Sub(t.CreatedAt)
	}
	return t
}

// ClockWarning warns that the node's clock differs from Modal's. It is empty if the clocks agree.
func (t Token) ClockWarning() string {
	direction := "ahead of"
	if t.ClockOffset < 0 {
		direction = "behind"
	}
	if t.ClockOffset.Abs() <= clockTolerance {
		return ""
	}
	return fmt.Sprintf("this node's clock is %s %s Modal's, as the creation of token %s shows: set the clock right (NTP); "+
		"until then the engine counts the token's life from the moment when it received the token", duration.Format(t.ClockOffset.Abs()), direction, t.ID)
}

// receivedInTheFuture reports whether the node's clock ran ahead of now when the token was received. The clock was
// set back since, so ClockOffset is no longer right.
func (t Token) receivedInTheFuture(now time.Time) bool {
	return t.ClockOffset != 0 && t.CreatedAt.Add(t.ClockOffset).After(now.Add(clockTolerance))
}

// WithPossibleOffset returns the token without a clock offset that is no longer right.
func (t Token) WithPossibleOffset(now time.Time) Token {
	if t.receivedInTheFuture(now) {
		t.ClockOffset = 0
	}
	return t
}

// MayOnlyHaveExpired reports whether Modal may reject the token only because the token expired, even if this node's
// clock is wrong. Its service user may then still exist. A member token leaves nothing behind.
func (t Token) MayOnlyHaveExpired(now time.Time) bool {
	return t.IdentityType != modalapi.IdentityUser && !t.ExpiresAt.IsZero() && Earlier(t.ExpiresAt, t.LocalExpiry()).Before(now.Add(clockSlack))
}
