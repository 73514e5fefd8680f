// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// over reports whether the flow is asked for no more: its time is over and Modal has answered since, or has not
// for a day.
func (f lateFlow) over(now time.Time, failed error) bool {
	if now.Before(f.Until) {
		return false
	}
	return !isSilence(failed) || now.After(f.Until.Add(Day))
}

// hasDelivered reports whether a flow is known to have brought a token.
func (a *Approval) hasDelivered(f Flow, tokenID string) bool {
	if a.FlowID == f.FlowID && a.TokenID == tokenID {
		return true
	}
	return slices.ContainsFunc(a.Late, func(late lateFlow) bool { return late.FlowID == f.FlowID && slices.Contains(late.Delivered, tokenID) })
}

// askLate asks Modal, without a lock and the newest first, whether flows of approvals that have ended bring a
// token all the same. Every tick asks, for an hour after the end.
func (e *Engine) askLate(ctx context.Context, key string) error {
	a, err := e.approvals.Get(ctx, key)
	if err != nil || a == nil {
		return err
	}
	var over []string
	var silent error
	for _, late := range slices.Backward(a.Late) {
		approved, failed := e.await(ctx, late.Flow, 0)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if approved != nil && !a.hasDelivered(late.Flow, approved.Token.ID) {
			if err = e.takeLate(ctx, key, late.Flow, approved); err != nil {
				return err
			}
		}
		switch {
		case late.over(e.Now(), failed):
			over = append(over, late.FlowID)
		case isSilence(failed):
			silent = failed
		}
	}
	if len(over) > 0 || slices.ContainsFunc(a.Late, func(late lateFlow) bool { return late.misdated(e.Now()) }) {
		return e.dropLate(ctx, key, over)
	}
	return silent
}

// isSilence reports whether a question to Modal was not answered, so that it has to be asked again.
func isSilence(err error) bool { return err != nil && (isStorageError(err) || passes(err)) }

// misdated reports whether a node with a clock far ahead dated the end of the flow.
func (f lateFlow) misdated(now time.Time) bool {
	return f.Until.After(now.Add(lateAnswer + clockSlack))
}

// dropLate forgets flows that are asked for no more, and dates those again that a clock far ahead dated.
func (e *Engine) dropLate(ctx context.Context, key string, over []string) error {
	unlock, err := e.lockOwner(ctx, approvalRole(key))
	if err != nil {
		return err
	}
	defer unlock()
	a, err := e.approvals.Get(ctx, key)
	if err != nil || a == nil {
		return err
	}
	after := *a
	after.Late = slices.DeleteFunc(slices.Clone(a.Late), func(late lateFlow) bool { return slices.Contains(over, late.FlowID) })
	for i := range after.Late {
		if after.Late[i].misdated(e.Now()) {
			after.Late[i].Until = e.Now().Add(lateAnswer)
		}
	}
	if after.State == "" {
		return e.putApproval(ctx, key, after.forgotten())
	}
	return e.approvals.Put(ctx, key, &after)
}

// takeLate is receive for a token of a flow whose approval has ended.
func (e *Engine) takeLate(ctx context.Context, key string, f Flow, approved *modalapi.ApprovedToken) error {
	unlock, err := e.lockOwner(ctx, approvalRole(key))
	if err != nil {
		return err
	}
	defer unlock()
	return e.receive(ctx, key, f, approved)
}

// receiveLate notes that a flow brought a token after its approval had ended, and ends the token, which is in
// the revocation queue. The approval that operators see names it where it is the same one.
func (e *Engine) receiveLate(ctx context.Context, key string, a *Approval, f Flow, entry *Revocation, workspace string) error {
	after := *a
	after.Late = slices.Clone(a.Late)
	for i := range after.Late {
		if after.Late[i].FlowID == f.FlowID {
			after.Late[i].Delivered = append(slices.Clone(after.Late[i].Delivered), entry.ID)
		}
	}
	e.log().Warn("a token was approved after its approval had ended", "role", entry.Role, "token_id", entry.ID, "workspace", workspace)
	fate, err := e.endApproved(ctx, entry)
	if err != nil {
		return err
	}
	if a.State != "" && a.FlowID == f.FlowID {
		after.Said = fmt.Sprintf("%s; token %s of workspace %q was approved afterwards: %s", a.Said, entry.ID, workspace, fate)
		if after.TokenID == "" {
			after.TokenID = entry.ID
		}
	}
	if len(after.Late) == 0 && after.State == "" {
		return nil
	}
	return e.approvals.Put(ctx, key, &after)
}
