// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/model"
)

// Cancel ends a running approval, or removes an approval that has ended. The engine asks Modal about the flow once
// before Cancel answers, and then for an hour. A token that is approved in that time deletes itself.
func (ap *Approvals) Cancel(ctx context.Context, role string) (warnings []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, approvalBudget)
	defer cancel()
	key := model.ApprovalKey(role)
	running, err := ap.cancelLocked(ctx, role)
	if err != nil || !running {
		return nil, err
	}
	defer ap.poll(key)
	if _, err = ap.advance(ctx, key, 0); err == nil { // end a token that had already arrived
		err = ap.askEndedFlows(ctx, key)
	}
	if err != nil {
		warnings = []string{fmt.Sprintf("the approval is cancelled, but Modal could not be asked whether a token was approved anyway (%s); the engine keeps asking for an hour", err)}
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

// endWithOwner cancels and removes the approval of a role that is being deleted, or of config. The caller holds the
// lock. A token that was already approved ends in the background, after the caller has released the lock.
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

// markCancelled marks a running approval as cancelled, or removes an approval that has ended. It reports whether the
// approval was running. The caller holds the lock of the role or of config.
func (ap *Approvals) markCancelled(ctx context.Context, role string) (running bool, err error) {
	key := model.ApprovalKey(role)
	a, err := ap.mount.Approvals.Get(ctx, key)
	const cancelled = "an operator cancelled the approval"
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
