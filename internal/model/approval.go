// SPDX-License-Identifier: MPL-2.0

package model

import (
	"cmp"
	"slices"
	"time"
)

// States of an approval.
const (
	ApprovalWaiting   = "waiting"
	ApprovalDone      = "done"
	ApprovalRefused   = "refused"
	ApprovalLapsed    = "lapsed"
	ApprovalCancelled = "cancelled"
)

// Bounds of what an approval may ask for.
const (
	DefaultLapse = 15 * time.Minute
	MinLapse     = time.Minute
	MaxLapse     = Day
	MinTokenLife = time.Hour
)

// AdminName stands for the admin token among the names of roles. No role can have this name.
const AdminName = "@config"

// Flow is a page at Modal on which a person may approve a token. Its address is not stored. The ID leads to
// the page as well, so no answer and no log line has it.
type Flow struct {
	FlowID     string `json:"flow_id,omitempty"`
	WaitSecret string `json:"wait_secret,omitempty"`
	ServerURL  string `json:"server_url"`
}

// EndedFlow is the flow of an approval that has ended. Modal may still deliver a token by it, which would live
// and be unknown to everybody. Modal is asked for it until then. Delivered are the IDs of the tokens that it
// has brought.
type EndedFlow struct {
	Flow

	Until     time.Time `json:"until"`
	Delivered []string  `json:"delivered,omitempty"`
}

// Approval is a person's yes in a browser that the engine waits for. Open says that the engine still has work:
// to wait, or to bring the token TokenID into use, or to end that token. Account owns the token, and Said tells
// in words how the approval ended. Late holds the flows of this approval and of earlier ones, once they have
// ended. An entry without a state holds only such flows.
type Approval struct {
	Flow

	State           string         `json:"state,omitempty"`
	Open            bool           `json:"open,omitempty"`
	Began           time.Time      `json:"began,omitzero"`
	Lapses          time.Time      `json:"lapses,omitzero"`
	TokenTTL        time.Duration  `json:"token_ttl,omitempty"`
	Grace           *time.Duration `json:"grace,omitempty"`
	Force           bool           `json:"force,omitempty"`
	PinnedWorkspace string         `json:"pinned_workspace,omitempty"`

	TokenID         string      `json:"token_id,omitempty"`
	Account         Account     `json:"account,omitzero"`
	PreviousTokenID string      `json:"previous_token_id,omitempty"`
	Version         int         `json:"version,omitempty"`
	Reason          string      `json:"reason,omitempty"`
	EndedFlows      []EndedFlow `json:"late,omitempty"`
}

// HasLapsed reports whether nobody approved in time.
func (a *Approval) HasLapsed(now time.Time) bool {
	return a.State == ApprovalWaiting && !now.Before(a.Lapses)
}

// HasImpossibleTimes reports whether a node with a clock far ahead began it: nothing must wait until then.
func (a *Approval) HasImpossibleTimes(now time.Time) bool { return a.Began.After(now.Add(ClockSlack)) }

// RepairTimes is the approval with times that can be right: its wait, whole, from now.
func (a Approval) RepairTimes(now time.Time) *Approval {
	a.Began, a.Lapses = now, now.Add(a.Lapses.Sub(a.Began))
	return &a
}

// Closing is the approval once its outcome is decided, while its token has still to be ended.
func (a Approval) Closing(state, said string) *Approval {
	a.State, a.Reason, a.PreviousTokenID = state, said, ""
	return &a
}

// Ended is the approval after its end. Modal is asked for its flow for a while.
func (a Approval) Ended(state, said string, now time.Time) *Approval {
	a.State, a.Reason, a.Open = cmp.Or(state, a.State), cmp.Or(said, a.Reason), false
	if a.State != ApprovalDone {
		a.PreviousTokenID = ""
	}
	if a.WaitSecret != "" {
		late := EndedFlow{Flow: a.Flow, Until: now.Add(EndedFlowLife)}
		if a.TokenID != "" {
			late.Delivered = []string{a.TokenID}
		}
		a.EndedFlows = append(slices.Clone(a.EndedFlows), late)
		a.WaitSecret = ""
	}
	return &a
}

// Hidden is an approval that operators see no more, nil where Modal need not be asked for any flow.
func (a *Approval) Hidden() *Approval {
	if len(a.EndedFlows) == 0 {
		return nil
	}
	return &Approval{EndedFlows: a.EndedFlows}
}

// ApprovalKey is where the approval of a role, or of the admin token where role is empty, is stored.
func ApprovalKey(role string) string { return cmp.Or(role, AdminName) }

// ApprovalRole is the role of a key, empty for the admin token's.
func ApprovalRole(key string) string {
	if key == AdminName {
		return ""
	}
	return key
}

// MayBeNew says of an approved token that Modal may refuse it for the seconds that a new one needs.
func (r *Revocation) MayBeNew(now time.Time) bool {
	age := now.Sub(r.Since)
	return age >= 0 && age < MintBudget
}

// EndedFlowLife is how long after the end of an approval Modal is asked whether it brings a token all the same.
const EndedFlowLife = time.Hour

// IsOver reports whether the flow is asked for no more: its time is over and Modal has answered since, or has not
// for a day.
func (f EndedFlow) IsOver(now time.Time, failed error) bool {
	if now.Before(f.Until) {
		return false
	}
	return !IsUnanswered(failed) || now.After(f.Until.Add(Day))
}

// HasDelivered reports whether a flow is known to have brought a token.
func (a *Approval) HasDelivered(f Flow, tokenID string) bool {
	if a.FlowID == f.FlowID && a.TokenID == tokenID {
		return true
	}
	return slices.ContainsFunc(a.EndedFlows, func(late EndedFlow) bool { return late.FlowID == f.FlowID && slices.Contains(late.Delivered, tokenID) })
}

// HasImpossibleTimes reports whether a node with a clock far ahead dated the end of the flow.
func (f EndedFlow) HasImpossibleTimes(now time.Time) bool {
	return f.Until.After(now.Add(EndedFlowLife + ClockSlack))
}
