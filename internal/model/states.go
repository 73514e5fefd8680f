// SPDX-License-Identifier: MPL-2.0

package model

import "time"

// States of a role. A role has the first of these that applies.
const (
	StateRejected = "rejected"
	StateFailing  = "failing"
	StateOverdue  = "overdue"
	StateDisabled = "disabled"
	StateOK       = "ok"
)

// urgentStates lists the states that need an operator, the most urgent first.
var urgentStates = []string{StateRejected, StateFailing, StateOverdue}

// States of a revocation.
const (
	StatePending  = "pending"
	StateLeased   = "leased"
	StateGrace    = "grace period"
	StateInUse    = "in use"
	StateEnding   = "ending"
	StateRetrying = "retrying"
	// StateUnconfirmed: Modal still accepts the token after it acknowledged the deletion (AcceptedAfterDeletion), or the
	// proof waits for a second rejection (FirstRejectedAt).
	StateUnconfirmed = "unconfirmed"
	StateWaiting     = "waiting for an operator"
)

// State returns the role's state.
func (r *Rotation) State() string {
	switch {
	case r.Rejected:
		return StateRejected
	case r.Cred.Failing():
		return StateFailing
	case r.Late > 0 || (r.HasNoToken() && r.Role.Dynamic == nil):
		return StateOverdue
	case r.Role.Managed != nil && r.Role.Managed.Disabled:
		return StateDisabled
	}
	return StateOK
}

// State returns the revocation's state. A token that a person must delete waits for an operator from the start: the
// person need not wait for the grace period.
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
	case r.AcceptedAfterDeletion:
		return StateUnconfirmed
	case r.Failing():
		return StateRetrying
	}
	return StateEnding
}
