// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"slices"
	"time"
)

// DeleteRole moves the current token to the ledger before it removes the role, and tells what is left. The
// token keeps the role's grace period, as after a rotation: whoever reads the role may not have noticed.
// With force every token that the engine may end, earlier ones too, ends now. That is in storage before
// Modal is asked, so that what cannot be ended now is ended later, whatever happens to this request.
func (e *Engine) DeleteRole(ctx context.Context, name string, force bool) (told []string, err error) {
	unlock, err := e.lockRole(ctx, name)
	if err != nil {
		return nil, err
	}
	defer unlock()
	cred, err := e.credentials.Get(ctx, name)
	if err != nil {
		return nil, err
	}
	r, err := e.roles.Get(ctx, name)
	if err != nil || (r == nil && cred == nil && !force) {
		return nil, err
	}
	if force {
		if err = e.forceEarlier(ctx, name); err != nil {
			return nil, err
		}
	}
	if err = e.endWith(ctx, name); err != nil {
		return nil, err
	}
	if err = e.removeRole(ctx, name, r, cred, force); err != nil {
		return nil, err
	}
	if r != nil || cred != nil {
		event := Event{Kind: EventRoleDelete, Modified: true, Role: name}
		if cred != nil {
			event.Version, event.TokenID, event.Account = cred.Version, cred.ID, cred.Account()
		}
		e.log().Info("role deleted", append([]any{"role", name, "force", force, "token_id", event.TokenID}, event.Account.logged("")...)...)
		e.event(ctx, event)
	}
	var ended []string
	if force {
		ended = e.endForced(ctx, name)
	}
	return e.whatIsLeft(ctx, name, ended), nil
}

func (e *Engine) removeRole(ctx context.Context, name string, r *Role, cred *Credential, force bool) error {
	e.handover.Lock()
	defer e.handover.Unlock()
	if r != nil && cred != nil {
		entry := newRevocation(name, r, cred, reasonRoleDeleted, e.Now(), r.GracePeriod)
		if force && entry.Method == methodAutomatic {
			entry = entry.forced(e.Now())
		}
		if _, err := e.retire(ctx, entry); err != nil {
			return err
		}
	}
	if r == nil && cred == nil {
		return nil
	}
	if err := e.roles.Delete(ctx, name); err != nil {
		return err
	}
	return e.credentials.Delete(ctx, name)
}

// forceEarlier notes of a role's earlier tokens that an operator wants them ended now.
func (e *Engine) forceEarlier(ctx context.Context, name string) error {
	entries, err := e.entriesOf(ctx, name)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Method != methodAutomatic || entry.Forced {
			continue
		}
		if err := e.force(ctx, entry); err != nil {
			return err
		}
	}
	return nil
}

// force notes that an entry's token is to end now. The caller holds the role's lock, and a lease has one
// of its own.
func (e *Engine) force(ctx context.Context, entry *Revocation) error {
	if entry.Leased {
		unlock, err := e.lockLease(ctx, entry.Key())
		if err != nil {
			return err
		}
		defer unlock()
		if entry, err = e.revocations.Get(ctx, entry.Key()); err != nil || entry == nil {
			return err
		}
	}
	return e.revocations.Put(ctx, entry.Key(), entry.forced(e.Now()))
}

func (e *Engine) endOne(ctx context.Context, entry *Revocation) (got verdict, err error) {
	if entry.Leased {
		got, _, err = e.attend(ctx, ctx, entry.Key(), byForce)
		return got, err
	}
	got, _, err = e.attendLocked(ctx, entry, byForce)
	return got, err
}

// endForced ends a deleted role's tokens that are to end now, the newest first, as far as the time of one
// request goes, and returns those that Modal refuses. The rest is the worker's.
func (e *Engine) endForced(ctx context.Context, name string) (ended []string) {
	entries, err := e.entriesOf(ctx, name)
	if err != nil {
		return nil // what is left says so
	}
	slices.SortStableFunc(entries, func(x, y *Revocation) int { return y.Version - x.Version })
	brief, cancel := context.WithTimeout(ctx, forceBudget)
	defer cancel()
	for _, entry := range entries {
		if !entry.Forced || brief.Err() != nil {
			continue
		}
		got, failed := e.endOne(brief, entry)
		if failed != nil {
			e.log().Warn("a token of a deleted role is left to the worker", "role", name, "token_id", entry.Key(), "error", failed)
		}
		if got == verdictRevoked {
			ended = append(ended, entry.Key())
		}
	}
	return ended
}

// forceBudget bounds what a delete with force does at Modal before it answers.
const forceBudget = 30 * time.Second
