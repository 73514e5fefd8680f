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

// Default and limits of an approval's times.
const (
	DefaultLapse = 15 * time.Minute
	MinLapse     = time.Minute
	MaxLapse     = Day
	MinTokenLife = time.Hour
)

// AdminName is the admin token's key in tables whose keys are role names. A role cannot have this name.
const AdminName = "@config"

// Flow is a page at Modal on which a person may approve a token. The page's address is not stored. FlowID leads to
// the page too, so no answer and no log line contains it.
type Flow struct {
	// FlowID is Modal's ID of the flow.
	FlowID string `json:"flow_id,omitempty"`
	// WaitSecret lets the engine ask Modal for the approved token.
	WaitSecret string `json:"wait_secret,omitempty"`
	// ServerURL is the Modal that serves the page.
	ServerURL string `json:"server_url"`
}

// EndedFlow is the flow of an approval that has ended. A person may still open the page, and Modal then creates a
// token that only this flow delivers. So the engine asks Modal for that token until the flow cannot deliver it any
// more.
type EndedFlow struct {
	Flow

	// Until is when the engine stops asking, if Modal has answered since.
	Until time.Time `json:"until"`
	// Delivered lists the IDs of the tokens that the flow has delivered.
	Delivered []string `json:"delivered,omitempty"`
}

// Approval is a browser approval: the engine waits until a person confirms at Modal, and then receives a new token.
type Approval struct {
	Flow

	// State is one of the states above. It is empty in a stored approval that holds nothing but EndedFlows.
	State string `json:"state,omitempty"`
	// Open says that the engine still has work: to wait, to bring the token into use, or to delete the token.
	Open bool `json:"open,omitempty"`
	// Began is when an operator began the approval.
	Began time.Time `json:"began,omitzero"`
	// Lapses is when the approval lapses if nobody has approved by then.
	Lapses time.Time `json:"lapses,omitzero"`
	// TokenTTL is the lifetime that Modal is asked for. Zero leaves the lifetime to Modal.
	TokenTTL time.Duration `json:"token_ttl,omitempty"`
	// Grace is the grace period of the replaced token. It is nil for the role's grace period, or config's default.
	Grace *time.Duration `json:"grace,omitempty"`
	// Force accepts a token of another workspace or user than the current token's.
	Force bool `json:"force,omitempty"`
	// PinnedWorkspace is the name or the ID of the workspace that the token must belong to. It is empty for any.
	PinnedWorkspace string `json:"pinned_workspace,omitempty"`

	// TokenID is the ID of the approved token. It is empty until Modal delivers the token.
	TokenID string `json:"token_id,omitempty"`
	// Account is the owner of the approved token, once Modal has named it.
	Account Account `json:"account,omitzero"`
	// PreviousTokenID is the ID of the current token that the approved token replaces.
	PreviousTokenID string `json:"previous_token_id,omitempty"`
	// Version is the role's version after the approval. It is zero for the admin token.
	Version int `json:"version,omitempty"`
	// Reason tells in words how the approval ended.
	Reason string `json:"reason,omitempty"`
	// EndedFlows lists the flows of this approval and of earlier ones that have ended.
	EndedFlows []EndedFlow `json:"late,omitempty"`
}

// HasLapsed reports whether the approval still waits although its time is over.
func (a *Approval) HasLapsed(now time.Time) bool {
	return a.State == ApprovalWaiting && !now.Before(a.Lapses)
}

// Closing returns the approval once its outcome is decided, while its token still has to be deleted.
func (a Approval) Closing(state, reason string) *Approval {
	a.State, a.Reason, a.PreviousTokenID = state, reason, ""
	return &a
}

// Ended returns the approval after its end. An empty state or reason keeps the stored value. If the flow can still
// deliver a token, the flow moves to EndedFlows.
func (a Approval) Ended(state, reason string, now time.Time) *Approval {
	a.State, a.Reason, a.Open = cmp.Or(state, a.State), cmp.Or(reason, a.Reason), false
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

// Hidden returns the part of an approval that must stay stored although operators no longer see the approval: its
// ended flows. It returns nil if there are no ended flows.
func (a *Approval) Hidden() *Approval {
	if len(a.EndedFlows) == 0 {
		return nil
	}
	return &Approval{EndedFlows: a.EndedFlows}
}

// ApprovalKey returns the storage key of a role's approval. An empty role stands for the admin token.
func ApprovalKey(role string) string { return cmp.Or(role, AdminName) }

// ApprovalRole returns the role of a storage key. It is empty for the admin token's key.
func ApprovalRole(key string) string {
	if key == AdminName {
		return ""
	}
	return key
}

// MayBeNew reports whether the engine received an approved token so recently that Modal may still reject it. A new
// token needs a few seconds until Modal accepts it everywhere.
func (r *Revocation) MayBeNew(now time.Time) bool {
	age := now.Sub(r.Since)
	return age >= 0 && age < MintBudget
}

// EndedFlowLife is how long after the end of an approval the engine asks Modal whether the flow still delivers a
// token.
const EndedFlowLife = time.Hour

// IsOver reports whether the engine stops asking about the flow. That is so after Until, once Modal has answered. If
// Modal does not answer, the engine gives up a day later. failed is the error of the last question.
func (f EndedFlow) IsOver(now time.Time, failed error) bool {
	if now.Before(f.Until) {
		return false
	}
	return !IsUnanswered(failed) || now.After(f.Until.Add(Day))
}

// HasDelivered reports whether a flow is known to have delivered the token.
func (a *Approval) HasDelivered(f Flow, tokenID string) bool {
	if a.FlowID == f.FlowID && a.TokenID == tokenID {
		return true
	}
	return slices.ContainsFunc(a.EndedFlows, func(late EndedFlow) bool { return late.FlowID == f.FlowID && slices.Contains(late.Delivered, tokenID) })
}
