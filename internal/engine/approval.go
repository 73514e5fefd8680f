// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
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

// adminName stands for the admin token among the names of roles. No role can have this name.
const adminName = "@config"

// Flow is a page at Modal on which a person may approve a token. Its address is not stored. The ID leads to
// the page as well, so no answer and no log line has it.
type Flow struct {
	FlowID     string `json:"flow_id,omitempty"`
	WaitSecret string `json:"wait_secret,omitempty"`
	ServerURL  string `json:"server_url"`
}

// lateFlow is the flow of an approval that has ended. Modal may still deliver a token by it, which would live
// and be unknown to everybody. Modal is asked for it until then. Delivered are the IDs of the tokens that it
// has brought.
type lateFlow struct {
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

	TokenID         string     `json:"token_id,omitempty"`
	Account         Account    `json:"account,omitzero"`
	PreviousTokenID string     `json:"previous_token_id,omitempty"`
	Version         int        `json:"version,omitempty"`
	Said            string     `json:"reason,omitempty"`
	Late            []lateFlow `json:"late,omitempty"`
}

// over reports whether nobody approved in time.
func (a *Approval) over(now time.Time) bool {
	return a.State == ApprovalWaiting && !now.Before(a.Lapses)
}

// misdated reports whether a node with a clock far ahead began it: nothing must wait until then.
func (a *Approval) misdated(now time.Time) bool { return a.Began.After(now.Add(clockSlack)) }

// redated is the approval with times that can be right: its wait, whole, from now.
func (a Approval) redated(now time.Time) *Approval {
	a.Began, a.Lapses = now, now.Add(a.Lapses.Sub(a.Began))
	return &a
}

// closing is the approval once its outcome is decided, while its token has still to be ended.
func (a Approval) closing(state, said string) *Approval {
	a.State, a.Said, a.PreviousTokenID = state, said, ""
	return &a
}

// ended is the approval after its end. Modal is asked for its flow for a while.
func (a Approval) ended(state, said string, now time.Time) *Approval {
	a.State, a.Said, a.Open = cmp.Or(state, a.State), cmp.Or(said, a.Said), false
	if a.State != ApprovalDone {
		a.PreviousTokenID = ""
	}
	if a.WaitSecret != "" {
		late := lateFlow{Flow: a.Flow, Until: now.Add(lateAnswer)}
		if a.TokenID != "" {
			late.Delivered = []string{a.TokenID}
		}
		a.Late = append(slices.Clone(a.Late), late)
		a.WaitSecret = ""
	}
	return &a
}

// forgotten is an approval that operators see no more, nil where Modal need not be asked for any flow.
func (a *Approval) forgotten() *Approval {
	if len(a.Late) == 0 {
		return nil
	}
	return &Approval{Late: a.Late}
}

// putApproval stores an approval, or removes it where it is nil.
func (e *Engine) putApproval(ctx context.Context, key string, a *Approval) error {
	if a == nil {
		return e.approvals.Delete(ctx, key)
	}
	return e.approvals.Put(ctx, key, a)
}

// approvalKey is where the approval of a role, or of the admin token where role is empty, is stored.
func approvalKey(role string) string { return cmp.Or(role, adminName) }

// approvalRole is the role of a key, empty for the admin token's.
func approvalRole(key string) string {
	if key == adminName {
		return ""
	}
	return key
}

// approvalPath is where operators find it.
func (e *Engine) approvalPath(role string) string {
	if role == "" {
		return e.mount() + "config/approval"
	}
	return fmt.Sprintf("%srotate/%s/approval", e.mount(), role)
}

// Approval is the approval of a role, or of the admin token where role is empty: nil where none was
// begun. It waits, so long at most, for a running one to end.
func (e *Engine) Approval(ctx context.Context, role string, wait time.Duration) (*Approval, error) {
	a, err := e.approval(ctx, role)
	if err != nil || a == nil || !a.Open || wait <= 0 {
		return a, err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for a != nil && a.Open && e.deps.Wait(waiting, pollInterval) == nil {
		if a, err = e.approval(ctx, role); err != nil {
			return nil, err
		}
	}
	return a, ctx.Err()
}

func (e *Engine) approval(ctx context.Context, role string) (*Approval, error) {
	a, err := e.approvals.Get(ctx, approvalKey(role))
	if err != nil || a == nil || a.State == "" {
		return nil, err
	}
	return a, nil
}

// approvalServers returns the server of each flow that Modal is still asked for.
func (e *Engine) approvalServers(ctx context.Context) (servers []string, err error) {
	keys, err := e.approvals.List(ctx)
	if err != nil {
		return nil, err
	}
	for _, key := range keys {
		a, err := e.approvals.Get(ctx, key)
		if err != nil {
			return nil, err
		}
		if a == nil {
			continue
		}
		if a.WaitSecret != "" {
			servers = append(servers, a.ServerURL)
		}
		for _, late := range a.Late {
			servers = append(servers, late.ServerURL)
		}
	}
	return servers, nil
}

// AfterApproval returns the next step of an approval.
func (e *Engine) AfterApproval(role string, a *Approval) string {
	path := e.approvalPath(role)
	switch {
	case a.State == ApprovalWaiting && a.TokenID != "":
		return fmt.Sprintf("nothing to do: token %s was approved, and the engine asks Modal about its owner before it uses the token: vault read %s tells the outcome", a.TokenID, path)
	case a.State == ApprovalWaiting:
		return fmt.Sprintf("the person who has the url approves by %s, and the engine does the rest: vault read %s tells how it stands; "+
			"if the url is lost, cancel (vault delete %s) and begin again (vault write -f %s)", a.Lapses.Format(time.RFC3339), path, path, path)
	case a.State == ApprovalDone && role == "":
		return "nothing to do: the engine uses the new admin token"
	case a.State == ApprovalDone:
		return fmt.Sprintf("nothing to do: read the token with: vault read %screds/%s", e.mount(), role)
	}
	return "begin again with: vault write -f " + path
}

// AfterBegin returns the next step of an approval that was just begun.
func (e *Engine) AfterBegin(role string, a *ApprovalBegun) string {
	step := "open url in a browser and approve"
	if a.Code != "" {
		step = "open url in a browser, compare the code and approve"
	}
	return fmt.Sprintf("%s by %s; the engine does the rest: vault read %s tells how it stands; no other answer tells the url, and whoever opens it decides whose account it is",
		step, a.Lapses.Format(time.RFC3339), e.approvalPath(role))
}
