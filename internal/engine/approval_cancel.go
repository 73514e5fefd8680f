// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
)

// CancelApproval ends a running approval, and forgets one that has ended. Modal is asked once more: a
// token that was approved in that moment goes to the ledger.
func (e *Engine) CancelApproval(ctx context.Context, role string) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, approvalBudget)
	defer cancel()
	running, err := e.giveUp(ctx, role)
	if err != nil || !running {
		return nil, err
	}
	defer e.follow(approvalKey(role))
	if _, err = e.advance(ctx, approvalKey(role), 0); err != nil {
		return []string{fmt.Sprintf("the approval is cancelled, and the engine goes on asking Modal whether a token was approved before: %s", err)}, nil
	}
	after, err := e.approvals.Get(ctx, approvalKey(role))
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

// endWith cancels the approval of what is being deleted. Modal is asked once more in the background, where
// the caller's lock is waited for.
func (e *Engine) endWith(ctx context.Context, role string) error {
	running, err := e.cancelApproval(ctx, role)
	if running {
		e.follow(approvalKey(role))
	}
	return err
}

// cancelApproval marks a running approval as cancelled, and drops one that has ended. Whoever follows it
// asks Modal once more. The caller holds the lock of what it is for.
func (e *Engine) cancelApproval(ctx context.Context, role string) (running bool, err error) {
	a, err := e.approvals.Get(ctx, approvalKey(role))
	switch {
	case err != nil || a == nil:
		return false, err
	case !a.Open:
		return false, e.approvals.Delete(ctx, approvalKey(role))
	case a.State != ApprovalWaiting:
		return true, nil
	}
	e.log().Info("approval cancelled", "role", role, "flow", a.FlowID)
	return true, e.approvals.Put(ctx, approvalKey(role), a.closing(ApprovalCancelled, "an operator cancelled it"))
}
