// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"errors"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// AssignAdmin stores config with another admin token, or without an admin token. First it queues the revocation of
// the replaced token, which it returns.
func (o *Owners) AssignAdmin(ctx context.Context, before, after *model.Config, grace *time.Duration) (old *model.Revocation, err error) {
	o.AssignMu.Lock()
	defer o.AssignMu.Unlock()
	changes := after.AdminID() != before.AdminID()
	if changes && after.Admin != nil {
		if err = errors.Join(o.CheckFree(ctx, *after.Admin, "", after.Admin.Verified()), o.CheckNotLeased(ctx, *after.Admin)); err != nil {
			return nil, err
		}
		if err = o.Recall(ctx, after.Admin); err != nil {
			return nil, err
		}
	}
	// Remember the old admin token's workspace first: storing it may have failed when that token was written.
	if err = o.workspaces.Learn(ctx, before, before.AdminToken(), true); err != nil {
		return nil, err
	}
	if changes && before.Admin != nil {
		old = before.AdminRevocation(after, o.mount.Now(), grace)
		if err = o.mount.Revocations.Put(ctx, old.Key(), old); err != nil {
			return nil, err
		}
	}
	if after == model.DefaultConfig {
		err = o.mount.Config.Delete(ctx, "")
	} else {
		err = o.mount.Config.Put(ctx, "", after)
	}
	if err != nil {
		return old, err
	}
	if err = o.workspaces.Learn(ctx, after, after.AdminToken(), true); err != nil || !changes || after.Admin == nil {
		return old, err
	}
	o.LeaveQueue(ctx, after.Admin.ID)
	if owner, failed := o.mount.TokenOwners.Get(ctx, after.Admin.ID); failed == nil {
		o.logTakeover(ctx, *after.Admin, "", owner)
	}
	if err := o.mount.TokenOwners.Delete(ctx, after.Admin.ID); err != nil {
		o.mount.Log().Warn("could not delete the stored owner of the new admin token", "token_id", after.Admin.ID, "error", err)
	}
	return old, nil
}
