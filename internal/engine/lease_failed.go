// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
	"vault-plugin-secrets-modal/internal/store"
)

// creations are the names of the service users that this process is creating for leases. An unfinished revocation of
// another name was left by a read that failed, or by a process that died.
type creations struct {
	mu    sync.Mutex
	names map[string]bool
}

// creating is the part of creations that belongs to one read.
type creating struct {
	all   *creations
	names []string
}

func (c *creations) start() *creating { return &creating{all: c} }

func (c *creations) has(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.names[name]
}

func (r *creating) add(name string) {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	if r.all.names == nil {
		r.all.names = map[string]bool{}
	}
	r.all.names[name] = true
	r.names = append(r.names, name)
}

func (r *creating) end() {
	r.all.mu.Lock()
	defer r.all.mu.Unlock()
	for _, name := range r.names {
		delete(r.all.names, name)
	}
}

// isFailedCreation reports whether a read failed while it created the service user, and Modal has not answered about
// that service user since.
func (ls *Leases) isFailedCreation(entry *model.Revocation) bool {
	return entry.Leased && entry.Reason == model.ReasonUnfinished && !entry.ModalAnswered() && !ls.minter.creations.has(entry.Key())
}

// deleteFailedCreations ends the service users of a role whose creation failed in earlier reads, before a read creates a new
// one. So an outage leaves only the creations that it interrupted. deleteFailedCreations skips service users of another
// workspace or server, because the admin token cannot delete them.
func (ls *Leases) deleteFailedCreations(ctx context.Context, name string) error {
	cfg, err := ls.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	r, err := ls.mount.Roles.Get(ctx, name)
	if err != nil {
		return err
	}
	ids, err := ls.unfinishedCreations(ctx)
	if err != nil {
		return err
	}
	var failed []string
	for _, id := range ids {
		entry, err := ls.mount.Revocations.Get(ctx, id)
		if err != nil {
			return err
		}
		if entry != nil && entry.Role == name && entry.IsOfGeneration(r) && ls.isFailedCreation(entry) && cfg.CheckReach(entry.Token) == nil {
			failed = append(failed, id)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	if cfg.Paused {
		return model.UserErrorf("an earlier read of role %s failed while it created service user %s, and the engine does not delete service users while the mount is paused; "+
			"no other service user was created: end the pause with: %s, then read again", name, failed[0], ls.mount.Commands().Unpause())
	}
	failures := make([]error, len(failed))
	ls.mount.Each(failed, state.MaxConcurrentRotations, func(i int, id string) {
		failures[i] = ls.deleteFailedCreation(ctx, id)
	})
	for i, failure := range failures {
		if failure != nil {
			return fmt.Errorf("an earlier read of role %s failed while it created service user %s, which may still exist: %w; "+
				"no other service user was created: read again", name, failed[i], failure)
		}
	}
	return nil
}

// unfinishedCreations returns the IDs of the leases that a read is creating or failed to create. If there are none,
// it makes no call to storage. It fails if storage fails for one revocation, which may be a failed creation.
func (ls *Leases) unfinishedCreations(ctx context.Context) ([]string, error) {
	unlock, err := ls.mount.LockUnfinished(ctx) // a second read waits for the result of the first one
	if err != nil {
		return nil, err
	}
	defer unlock()
	var mu sync.Mutex
	var failed []error
	ids, err := ls.mount.DueCreations.Due(ctx, ls.mount.Now(), state.DueSource{
		List: func(ctx context.Context) ([]string, error) { return ls.mount.Revocations.List(ctx) },
		Next: func(ctx context.Context, id string) (time.Time, error) {
			entry, failed := ls.mount.Revocations.Get(ctx, id)
			if failed != nil || entry == nil || !entry.Leased || entry.Reason != model.ReasonUnfinished || entry.ModalAnswered() {
				return time.Time{}, failed
			}
			return time.Unix(0, 0), nil
		},
		Failed: func(_ string, err error) {
			if store.IsUnreadable(err) {
				return // another version of the plugin wrote the revocation, and the worker logs it
			}
			mu.Lock()
			defer mu.Unlock()
			failed = append(failed, err)
		},
	})
	return ids, errors.Join(err, ctx.Err(), errors.Join(failed...))
}

// deleteFailedCreation deletes the service user of a failed creation, if Modal has it.
func (ls *Leases) deleteFailedCreation(ctx context.Context, id string) error {
	entry, unlock, err := ls.revoker.Lock(ctx, ctx, id)
	if err != nil || entry == nil {
		return err
	}
	defer unlock()
	if !ls.isFailedCreation(entry) { // another read has deleted it, or Modal answered about it
		return nil
	}
	if err = ls.guard.CheckDeletion(ctx); err != nil {
		return err
	}
	outcome, remaining, err := ls.revoker.ProcessLocked(ctx, entry.DueNow(ls.mount.Now()), revocation.WhenDue)
	switch {
	case err != nil || outcome == revocation.Gone || outcome == revocation.Current || outcome == revocation.Revoked:
		return err
	case outcome == revocation.Postponed: // a comparison has just found the mount out of sync
		return ls.guard.CheckDeletion(ctx)
	case remaining.ModalAnswered():
		return nil
	}
	return &model.UnusableError{Text: remaining.LastError}
}
