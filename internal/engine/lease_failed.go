// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// creations are the names of the service users that this process is creating for leases. An unfinished entry of
// another name was left by a read that failed, or by a process that died.
type creations struct {
	mu    sync.Mutex
	names map[string]bool
}

// creating is one read's part of creations.
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

// settled reports whether Modal answered about the service user of a creation that failed: Modal did not know the
// service user, or deleted it. If Modal did not know it, the worker asks a second time, ten minutes later.
func (r *Revocation) settled() bool { return !r.Missing.IsZero() || r.Acknowledged }

// failedCreation reports whether a read failed while it created the service user, and Modal has not answered about the
// service user since.
func (e *Engine) failedCreation(entry *Revocation) bool {
	return entry.Leased && entry.Reason == reasonUnfinished && !entry.settled() && !e.creations.has(entry.Key())
}

// settleFailed settles the creations of a role that earlier reads failed at, before a read begins another one. An
// outage therefore leaves only the creations that it interrupted. The admin token cannot settle a service user of
// another workspace or server.
func (e *Engine) settleFailed(ctx context.Context, name string) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	r, err := e.roles.Get(ctx, name)
	if err != nil {
		return err
	}
	ids, err := e.unfinishedCreations(ctx)
	if err != nil {
		return err
	}
	var failed []string
	for _, id := range ids {
		entry, err := e.revocations.Get(ctx, id)
		if err != nil {
			return err
		}
		if entry != nil && entry.Role == name && entry.isOfGeneration(r) && e.failedCreation(entry) && cfg.reaches(entry.Token) == nil {
			failed = append(failed, id)
		}
	}
	if len(failed) == 0 {
		return nil
	}
	if cfg.Paused {
		return Refusef("an earlier read of role %s failed while it created service user %s, which the engine does not delete while the mount is paused: "+
			"vault write %sconfig paused=false; no other service user was created", name, failed[0], e.mount())
	}
	failures := make([]error, len(failed))
	eachOf(failed, maxConcurrentRotations, func(i int, id string) {
		e.deps.Stagger(i)
		failures[i] = e.settle(ctx, id)
	})
	for i, failure := range failures {
		if failure != nil {
			return fmt.Errorf("an earlier read of role %s failed while it created service user %s, which may still exist: %w; "+
				"no other service user was created: read again", name, failed[i], failure)
		}
	}
	return nil
}

// unfinishedCreations are the IDs of the leases that a read is creating or failed to create. A read that finds none
// makes no call to storage.
func (e *Engine) unfinishedCreations(ctx context.Context) ([]string, error) {
	unlock, err := e.locks.hold(ctx, "unfinished creations") // a second read waits for what the first one looks up
	if err != nil {
		return nil, err
	}
	defer unlock()
	return e.unfinished.due(ctx, e.Now(), source{
		list: func(ctx context.Context) ([]string, error) { return e.revocations.List(ctx) },
		next: func(ctx context.Context, id string) (time.Time, error) {
			entry, err := e.revocations.Get(ctx, id)
			if err != nil || entry == nil || !entry.Leased || entry.Reason != reasonUnfinished || entry.settled() {
				return time.Time{}, err
			}
			return time.Unix(0, 0), nil
		},
		failed: func(string, error) {}, // the worker tells which entry cannot be read
	})
}

// settle deletes the service user of a creation that failed, where Modal has it.
func (e *Engine) settle(ctx context.Context, id string) error {
	entry, unlock, err := e.lockEntry(ctx, ctx, id)
	if err != nil || entry == nil {
		return err
	}
	defer unlock()
	if !e.failedCreation(entry) { // another read was faster
		return nil
	}
	if err = e.fenced(ctx); err != nil {
		return err
	}
	got, stays, err := e.attendLocked(ctx, entry.dueNow(e.Now()), whenDue)
	switch {
	case err != nil || got == verdictGone || got == verdictCurrent || got == verdictRevoked:
		return err
	case got == verdictNotDue: // the mount has just been found out of sync
		return e.fenced(ctx)
	case stays.settled():
		return nil
	}
	return &unusableError{text: stays.LastError}
}
