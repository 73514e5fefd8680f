// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// askEndedFlows asks Modal, without a lock and the newest first, whether the flow of an ended approval brings a token
// anyway. Every tick asks, for an hour after the end of the approval.
func (ap *Approvals) askEndedFlows(ctx context.Context, key string) error {
	a, err := ap.mount.Approvals.Get(ctx, key)
	if err != nil || a == nil {
		return err
	}
	var over []string
	var silent error
	for _, late := range slices.Backward(a.EndedFlows) {
		approved, failed := ap.await(ctx, late.Flow, 0)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if approved != nil && !a.HasDelivered(late.Flow, approved.Token.ID) {
			if err = ap.receiveLocked(ctx, key, late.Flow, approved); err != nil {
				return err
			}
		}
		switch {
		case late.IsOver(ap.mount.Now(), failed):
			over = append(over, late.FlowID)
		case model.IsUnanswered(failed):
			silent = failed
		}
	}
	if len(over) > 0 || a.HasImpossibleTimes(ap.mount.Now()) {
		return ap.dropEndedFlows(ctx, key, over)
	}
	return silent
}

// dropEndedFlows removes flows that need no more questions, and repairs impossible times.
func (ap *Approvals) dropEndedFlows(ctx context.Context, key string, over []string) error {
	unlock, err := ap.mount.LockOwner(ctx, model.ApprovalRole(key))
	if err != nil {
		return err
	}
	defer unlock()
	a, err := ap.mount.Approvals.Get(ctx, key)
	if err != nil || a == nil {
		return err
	}
	after := a.RepairTimes(ap.mount.Now())
	after.EndedFlows = slices.DeleteFunc(after.EndedFlows, func(late model.EndedFlow) bool { return slices.Contains(over, late.FlowID) })
	if after.State == "" {
		return ap.put(ctx, key, after.Hidden())
	}
	return ap.mount.Approvals.Put(ctx, key, after)
}

// receiveLocked takes the lock and calls receive, for a token whose approval has ended.
func (ap *Approvals) receiveLocked(ctx context.Context, key string, f model.Flow, approved *modalapi.ApprovedToken) error {
	unlock, err := ap.mount.LockOwner(ctx, model.ApprovalRole(key))
	if err != nil {
		return err
	}
	defer unlock()
	return ap.receive(ctx, key, f, approved)
}

// receiveLate records that a flow brought a token after its approval had ended, and ends that token, which is in the
// revocation queue. If operators still see the same approval, its reason names the token.
func (ap *Approvals) receiveLate(ctx context.Context, key string, a *model.Approval, f model.Flow, entry *model.Revocation, workspace string) error {
	after := *a
	after.EndedFlows = slices.Clone(a.EndedFlows)
	for i := range after.EndedFlows {
		if after.EndedFlows[i].FlowID == f.FlowID {
			after.EndedFlows[i].Delivered = append(slices.Clone(after.EndedFlows[i].Delivered), entry.ID)
		}
	}
	ap.mount.Log().Warn("a token was approved after its approval had ended", "role", entry.Role, "token_id", entry.ID, "workspace", workspace)
	result, err := ap.endToken(ctx, entry)
	if err != nil {
		return err
	}
	if a.State != "" && a.FlowID == f.FlowID {
		after.Reason = fmt.Sprintf("%s; token %s of workspace %q was approved afterwards: %s", a.Reason, entry.ID, workspace, result)
		if after.TokenID == "" {
			after.TokenID = entry.ID
		}
	}
	if len(after.EndedFlows) == 0 && after.State == "" {
		return nil
	}
	return ap.mount.Approvals.Put(ctx, key, &after)
}
