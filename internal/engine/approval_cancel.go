// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/model"
)

// Cancel ends a running approval, and forgets one that has ended. Modal is asked for its flow for
// another hour, and once before this answers: a token that is approved all the same deletes itself.
func (ap *Approvals) Cancel(ctx context.Context, role string) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, approvalBudget)
	defer cancel()
	key := model.ApprovalKey(role)
	running, err := ap.cancelLocked(ctx, role)
	if err != nil || !running {
		return nil, err
	}
	defer ap.poll(key)
	if _, err = ap.advance(ctx, key, 0); err == nil { // a token that was in its hands already
		err = ap.askEndedFlows(ctx, key)
	}
	if err != nil {
		warnings = []string{fmt.Sprintf("the approval is cancelled, and the engine goes on asking Modal for an hour whether a token was approved all the same: %s", err)}
	}
	after, err := ap.mount.Approvals.Get(ctx, key)
	if err == nil && after != nil && after.TokenID != "" {
		warnings = append(warnings, after.Reason)
	}
	return warnings, err
}

func (ap *Approvals) cancelLocked(ctx context.Context, role string) (running bool, err error) {
	unlock, err := ap.mount.LockOwner(ctx, role)
	if err != nil {
		return false, err
	}
	defer unlock()
	return ap.markCancelled(ctx, role)
}

// endWithOwner cancels and forgets the approval of a role that is being deleted, or of config. A token that was
// approved already is ended in the background, where the caller's lock is waited for.
func (ap *Approvals) endWithOwner(ctx context.Context, role string) error {
	running, err := ap.markCancelled(ctx, role)
	if err != nil || !running {
		return err
	}
	a, err := ap.mount.Approvals.Get(ctx, model.ApprovalKey(role))
	if err != nil || a == nil {
		return err
	}
	if a.Open {
		ap.poll(model.ApprovalKey(role))
		return nil
	}
	return ap.put(ctx, model.ApprovalKey(role), a.Hidden())
}

// markCancelled marks a running approval as cancelled, and forgets one that has ended. The caller holds the
// lock of what it is for.
func (ap *Approvals) markCancelled(ctx context.Context, role string) (running bool, err error) {
	key := model.ApprovalKey(role)
	a, err := ap.mount.Approvals.Get(ctx, key)
	const cancelled = "an operator cancelled it"
	switch {
	case err != nil || a == nil || a.State == "":
		return false, err
	case !a.Open:
		return false, ap.put(ctx, key, a.Hidden())
	case a.State != model.ApprovalWaiting:
		return true, nil
	case a.TokenID == "":
		return true, ap.putEnded(ctx, key, a.Ended(model.ApprovalCancelled, cancelled, ap.mount.Now()))
	}
	ap.mount.Log().Info("approval cancelled", "role", role, "token_id", a.TokenID)
	return true, ap.mount.Approvals.Put(ctx, key, a.Closing(model.ApprovalCancelled, cancelled))
}
