// SPDX-License-Identifier: MPL-2.0

package model

import "time"

// States of a role: the first that holds is told.
const (
	StateRejected = "rejected"
	StateFailing  = "failing"
	StateOverdue  = "overdue"
	StateDisabled = "disabled"
	StateOK       = "ok"
)

// urgentStates are those in which a role needs somebody, the most urgent first.
var urgentStates = []string{StateRejected, StateFailing, StateOverdue}

// States of a revocation.
const (
	StatePending     = "pending"
	StateLeased      = "leased"
	StateGrace       = "grace period"
	StateInUse       = "in use"
	StateEnding      = "ending"
	StateRetrying    = "retrying"
	StateUnconfirmed = "unconfirmed"
	StateWaiting     = "waiting for an operator"
)

// State is how the role stands, in a word.
func (r *Rotation) State() string {
	switch {
	case r.Rejected:
		return StateRejected
	case r.Cred.Attempts > 0:
		return StateFailing
	case r.Late > 0 || (r.HasNoToken() && r.Role.Dynamic == nil):
		return StateOverdue
	case r.Role.Managed != nil && r.Role.Managed.Disabled:
		return StateDisabled
	}
	return StateOK
}

// State is how far the token's end is, in a word. What people end waits for them from the first day on:
// they need not wait for the grace period.
func (r *Revocation) State(now time.Time) string {
	switch {
	case !r.FirstRejectedAt.IsZero():
		return StateUnconfirmed
	case r.Means() == MethodManual:
		return StateWaiting
	case r.NotYetCurrent() && now.Before(r.NotBefore):
		return StatePending
	case r.InGrace(now) && r.Leased:
		return StateLeased
	case r.InGrace(now):
		return StateGrace
	case r.IsInUse():
		return StateInUse
	case r.Unconfirmed:
		return StateUnconfirmed
	case r.Attempts > 0:
		return StateRetrying
	}
	return StateEnding
}
