// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
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

// adminName stands for the admin token among roles' names, of which it can be none.
const adminName = "@config"

// Approval is a person's yes in a browser that the engine waits for. Open says that Modal may still hand
// out a token by it, also after it lapsed or was cancelled; TokenID is that token, once it is in the
// ledger. Said is what came of it, in words.
type Approval struct {
	FlowID     string `json:"flow_id,omitempty"`
	WaitSecret string `json:"wait_secret,omitempty"`
	URL        string `json:"url,omitempty"`
	Code       string `json:"code,omitempty"`
	ServerURL  string `json:"server_url"`

	State    string         `json:"state"`
	Open     bool           `json:"open,omitempty"`
	Began    time.Time      `json:"began"`
	Lapses   time.Time      `json:"lapses"`
	TokenTTL time.Duration  `json:"token_ttl,omitempty"`
	Grace    *time.Duration `json:"grace,omitempty"`
	Force    bool           `json:"force,omitempty"`

	TokenID string `json:"token_id,omitempty"`
	Version int    `json:"version,omitempty"`
	Said    string `json:"reason,omitempty"`
}

func (a *Approval) flow() modalapi.TokenFlow {
	return modalapi.TokenFlow{ID: a.FlowID, WaitSecret: a.WaitSecret, URL: a.URL, Code: a.Code}
}

// over says that nobody approved it in time.
func (a *Approval) over(now time.Time) bool {
	return a.State == ApprovalWaiting && !now.Before(a.Lapses)
}

// misdated says that a node with a clock far ahead began it: nothing must wait until then.
func (a *Approval) misdated(now time.Time) bool { return a.Began.After(now.Add(clockSlack)) }

// redated is the approval with times that can be right: its wait, whole, from now.
func (a Approval) redated(now time.Time) *Approval {
	a.Began, a.Lapses = now, now.Add(a.Lapses.Sub(a.Began))
	return &a
}

// ended is the approval after its end, without what could still be asked with.
func (a Approval) ended(state, said string) *Approval {
	a.State, a.Said, a.Open, a.WaitSecret = cmp.Or(state, a.State), cmp.Or(said, a.Said), false, ""
	return &a
}

// closing is the approval after it was given up, while Modal is still to be asked once more.
func (a Approval) closing(state, said string) *Approval {
	a.State, a.Said = state, said
	return &a
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
	a, err := e.approvals.Get(ctx, approvalKey(role))
	if err != nil || a == nil || !a.Open || wait <= 0 {
		return a, err
	}
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for a != nil && a.Open && e.deps.Wait(waiting, pollInterval) == nil {
		if a, err = e.approvals.Get(ctx, approvalKey(role)); err != nil {
			return nil, err
		}
	}
	return a, ctx.Err()
}

// AfterApproval is what comes next.
func (e *Engine) AfterApproval(role string, a *Approval) string {
	switch a.State {
	case ApprovalWaiting:
		return e.whatToApprove(role, a)
	case ApprovalDone:
		if role == "" {
			return "nothing: the engine uses the new admin token"
		}
		return fmt.Sprintf("nothing: read the token with: vault read %screds/%s", e.mount(), role)
	}
	return "begin again with: vault write -f " + e.approvalPath(role)
}

func (e *Engine) whatToApprove(role string, a *Approval) string {
	step := "open url in a browser and approve"
	if a.Code != "" {
		step = "open url in a browser, compare the code and approve"
	}
	if a.TokenID != "" {
		step = fmt.Sprintf("token %s was approved, and the engine goes on proving it", a.TokenID)
	}
	return fmt.Sprintf("%s by %s; the engine does the rest: vault read %s tells how it stands", step, a.Lapses.Format(time.RFC3339), e.approvalPath(role))
}
