// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// store writes what changed, unless a role or the ledger has the new admin token. The old one goes
// to the ledger first: its entry is returned, nil where none left. The caller holds config's lock.
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
	if old != nil && old.Method == model.MethodManual {
		cs.mount.Publish(ctx, old.Event(model.EventRevokeManual))
	}
	return old, nil
}

// oldAdminWarnings tells what becomes of an admin token that the engine no longer uses.
func (cs *Configs) oldAdminWarnings(cfg *model.Config, old *model.Revocation) []string {
	if old == nil {
		return nil
	}
	about := fmt.Sprintf("the engine no longer uses admin token %s of %s, which is in the revocation queue now", old.ID, old.DescribeOwner())
	if old.Method == model.MethodManual {
		return []string{fmt.Sprintf("%s and left to you: %s", about, old.DeletionInstructions())}
	}
	return []string{cs.mount.WhilePaused(cfg, fmt.Sprintf("%s: it works until %s, and the engine ends it then; at once with: vault write %srevocations/%s force=true",
		about, old.NotBefore.Format(time.RFC3339), cs.mount.CommandPrefix(), old.Key()))}
}
