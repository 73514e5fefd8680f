// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// defaultAdminGrace is how long a replaced admin token works on, for the calls that are under way.
const defaultAdminGrace = time.Hour

// storeConfig writes what changed, unless a role or the ledger has the new admin token. The old one goes
// to the ledger first: its entry is returned, nil where none left. The caller holds config's lock.
func (e *Engine) storeConfig(ctx context.Context, before, after *Config, grace *time.Duration) (old *Revocation, err error) {
	if old, err = e.putConfig(ctx, before, after, grace); err != nil {
		return nil, err
	}
	text := "config written"
	if after == defaults {
		text = "config deleted"
	}
	e.log().Info(text, after.privileges(before)...)
	e.event(ctx, Event{Kind: EventConfigWrite, Modified: true, TokenID: after.adminID()})
	if old != nil && old.Method == methodManual {
		e.event(ctx, Event{Kind: EventRevokeManual, Entry: old.Key(), TokenID: old.ID})
	}
	return old, nil
}

func (e *Engine) putConfig(ctx context.Context, before, after *Config, grace *time.Duration) (old *Revocation, err error) {
	e.handover.Lock()
	defer e.handover.Unlock()
	changes := after.adminID() != before.adminID()
	if changes && after.Admin != nil {
		if err = errors.Join(e.refuseHeld(ctx, after.Admin.ID, ""), e.refuseLeased(ctx, *after.Admin)); err != nil {
			return nil, err
		}
		if err = e.recall(ctx, after.Admin); err != nil {
			return nil, err
		}
	}
	if changes && before.Admin != nil {
		old = before.retired(after, e.Now(), grace)
		if err = e.revocations.Put(ctx, old.Key(), old); err != nil {
			return nil, err
		}
	}
	if after == defaults {
		return old, e.config.Delete(ctx, "")
	}
	if err = e.config.Put(ctx, "", after); err != nil || !changes || after.Admin == nil {
		return old, err
	}
	e.leaveLedger(ctx, after.Admin.ID)
	if err := e.holders.Delete(ctx, after.Admin.ID); err != nil {
		e.log().Warn("the note of the role that the admin token was of is left", "token_id", after.Admin.ID, "error", err)
	}
	return old, nil
}

// retired is the entry of an admin token that the engine no longer uses: people removed it, or brought
// another. What is left to people they may end at once.
func (c *Config) retired(after *Config, now time.Time, grace *time.Duration) *Revocation {
	reason, keep := reasonAdminReplaced, defaultAdminGrace
	if grace != nil {
		keep = *grace
	}
	if after.Admin == nil {
		reason = reasonAdminRemoved
		if !c.Admin.Made {
			keep = 0
		}
	}
	return newAdminRevocation(*c.Admin, reason, now, keep)
}

// fateOfAdmin tells what becomes of an admin token that the engine no longer uses.
func (e *Engine) fateOfAdmin(old *Revocation) []string {
	if old == nil {
		return nil
	}
	about := fmt.Sprintf("the engine no longer uses admin token %s of %s, which is in the ledger now", old.ID, old.owner())
	if old.Method == methodManual {
		return []string{fmt.Sprintf("%s and left to you: %s", about, old.howToDelete())}
	}
	return []string{fmt.Sprintf("%s: it works until %s, and is ended then; at once with: vault write %srevocations/%s force=true",
		about, old.NotBefore.Format(time.RFC3339), e.mount(), old.Key())}
}
