// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
)

// CancelApproval ends a running approval, and forgets one that has ended. Modal is asked for its flow for
// another hour, and once before this answers: a token that is approved all the same deletes itself.
func (e *Engine) CancelApproval(ctx context.Context, role string) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, approvalBudget)
	defer cancel()
	key := approvalKey(role)
	running, err := e.giveUp(ctx, role)
	if err != nil || !running {
		return nil, err
	}
	defer e.follow(key)
	if _, err = e.advance(ctx, key, 0); err == nil { // a token that was in its hands already
		err = e.askLate(ctx, key)
	}
	if err != nil {
		warnings = []string{fmt.Sprintf("the approval is cancelled, and the engine goes on asking Modal for an hour whether a token was approved all the same: %s", err)}
	}
	after, err := e.approvals.Get(ctx, key)
	if err == nil && after != nil && after.TokenID != "" {
		warnings = append(warnings, after.Said)
	}
	return warnings, err
}

func (e *Engine) giveUp(ctx context.Context, role string) (running bool, err error) {
	unlock, err := e.lockOwner(ctx, role)
	if err != nil {
		return false, err
	}
	defer unlock()
	return e.cancelApproval(ctx, role)
}

// endWith cancels and forgets the approval of a role that is being deleted, or of config. A token that was
// approved already is ended in the background, where the caller's lock is waited for.
func (e *Engine) endWith(ctx context.Context, role string) error {
	running, err := e.cancelApproval(ctx, role)
	if err != nil || !running {
		return err
	}
	a, err := e.approvals.Get(ctx, approvalKey(role))
	if err != nil || a == nil {
		return err
	}
	if a.Open {
		e.follow(approvalKey(role))
		return nil
	}
	return e.putApproval(ctx, approvalKey(role), a.forgotten())
}

// cancelApproval marks a running approval as cancelled, and forgets one that has ended. The caller holds the
// lock of what it is for.
func (e *Engine) cancelApproval(ctx context.Context, role string) (running bool, err error) {
	key := approvalKey(role)
	a, err := e.approvals.Get(ctx, key)
	const cancelled = "an operator cancelled it"
	switch {
	case err != nil || a == nil || a.State == "":
		return false, err
	case !a.Open:
		return false, e.putApproval(ctx, key, a.forgotten())
	case a.State != ApprovalWaiting:
		return true, nil
	case a.TokenID == "":
		return true, e.putEnded(ctx, key, a.ended(ApprovalCancelled, cancelled, e.Now()))
	}
	e.log().Info("approval cancelled", "role", role, "token_id", a.TokenID)
	return true, e.approvals.Put(ctx, key, a.closing(ApprovalCancelled, cancelled))
}
