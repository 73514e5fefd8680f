// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// store writes a changed config. It refuses an admin token that belongs to a role or that the engine is ending. If
// the old admin token is replaced, it enters the revocation queue first, and store returns its revocation. The caller
// holds config's lock.
func (cs *Configs) store(ctx context.Context, before, after *model.Config, grace *time.Duration) (old *model.Revocation, err error) {
	if old, err = cs.owners.AssignAdmin(ctx, before, after, grace); err != nil {
		return nil, err
	}
	text := "config written"
	if after == model.DefaultConfig {
		text = "config deleted"
	}
	cs.mount.Log().Info(text, after.LogChanges(before)...)
	event := model.Event{Kind: model.EventConfigWrite, Modified: true, TokenID: after.AdminID(), Account: cmp.Or(after.AdminToken().Account(), before.AdminToken().Account())}
	if old != nil {
		event.PreviousTokenID = old.ID
	}
	cs.mount.Publish(ctx, event)
	cs.mount.PublishManual(ctx, old)
	return old, nil
}

// oldAdminWarnings tells what happens to an admin token that the engine no longer uses.
func (cs *Configs) oldAdminWarnings(cfg *model.Config, old *model.Revocation) []string {
	if old == nil {
		return nil
	}
	about := fmt.Sprintf("the engine no longer uses admin token %s of %s, which is now in the revocation queue", old.ID, old.DescribeOwner())
	if old.Method == model.MethodManual {
		return []string{fmt.Sprintf("%s; the engine does not revoke it, so %s", about, old.DeletionInstructions())}
	}
	return []string{cs.mount.NotePausedIn(cfg, fmt.Sprintf("%s: it works until %s, and then the engine revokes it; to revoke it now: %s",
		about, old.NotBefore.Format(time.RFC3339), cs.mount.Commands().ForceRevocation(old.Key())))}
}
