// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// fenceLife is how long a look at Modal's service users counts for the end of leases.
const fenceLife = time.Minute

// divergence is what is stored of orphans: since when the mount ends nothing by itself, zero while it does,
// and which orphans an operator has accepted.
type divergence struct {
	Since    time.Time `json:"since,omitzero"`
	Accepted []string  `json:"accepted,omitempty"`
}

// fence stands between the worker and Modal. A copy of the mount, or one from a restored snapshot, takes
// tokens for old that another one hands out: what gives it away is service users of the mount that
// nothing in storage answers for.
type fence struct {
	mu     sync.Mutex // never held while Modal is asked
	looked time.Time
	// stays is why nothing is ended, nil for no reason; list alone concerns service users.
	stays, list error
	// silent is since when Modal has not answered, zero while it does.
	silent time.Time
}

// look compares storage with Modal, once for all that a tick ends.
func (e *Engine) look(ctx context.Context) error {
	unlock, err := e.lockFence(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return e.lookLocked(ctx)
}

// lockFence serialises looks, and what is stored of them. Whoever waits for one may go away.
func (e *Engine) lockFence(ctx context.Context) (unlock func(), err error) {
	if unlock, err = e.locks.hold(ctx, "orphans"); err != nil {
		return nil, fmt.Errorf("compare storage with Modal: another request still does: %w", ctx.Err())
	}
	return unlock, nil
}

func (e *Engine) lookLocked(ctx context.Context) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	orphans, err := e.orphans(ctx, cfg)
	switch {
	case modalapi.KindOf(err) != modalapi.KindNone:
		return e.unlisted(ctx, err)
	case errors.Is(err, errNoFence):
		orphans = nil
	case err != nil:
		return err
	}
	open, err := e.diverge(ctx, orphans)
	if err != nil {
		return err
	}
	var stays error
	if open > 0 {
		stays = e.diverged(fmt.Sprintf("%d service users", open))
	}
	e.fence.set(e.Now(), stays, nil)
	return nil
}

// unlisted is a look that Modal gave no list to: a mount that is diverged stays so.
func (e *Engine) unlisted(ctx context.Context, cause error) error {
	diverged, err := e.OutOfSync(ctx)
	if err != nil {
		return err
	}
	var stays, list error
	if diverged {
		stays = e.diverged("service users")
	}
	if !errors.Is(cause, errNoFence) {
		list = fmt.Errorf("Modal does not list the service users, so none is ended: %w", cause)
	}
	e.fence.set(e.Now(), stays, list)
	return nil
}

func (f *fence) set(looked time.Time, stays, list error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.looked, f.stays, f.list = looked, stays, list
	switch {
	case list == nil:
		f.silent = time.Time{}
	case f.silent.IsZero():
		f.silent = looked
	}
}

// last is when Modal was looked at last, and what that leaves to the worker.
func (f *fence) last() (looked time.Time, stays, list error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.looked, f.stays, f.list
}

// diverged is what a mount says that ends nothing by itself.
func (e *Engine) diverged(orphans string) error {
	return Refusef("the mount is out of sync: Modal has %s of it that nothing here answers for, as after a restored snapshot or in a copy, so it ends nothing by itself; "+
		"look at them with: vault list -detailed %sorphans, then end them (vault write %sorphans dry_run=false) or leave them (vault write %sorphans accept=true)",
		orphans, e.mount(), e.mount(), e.mount())
}

// diverge notes, once, that there are orphans which nobody has accepted, or that there are none any more.
// What was accepted stays so: an admin token of elsewhere, or without the right, does not see it.
func (e *Engine) diverge(ctx context.Context, orphans []modalapi.ServiceUser) (open int, err error) {
	before, err := e.divergence.Get(ctx, "")
	if err != nil {
		return 0, err
	}
	if before == nil {
		before = &divergence{}
	}
	for _, orphan := range orphans {
		if !slices.Contains(before.Accepted, orphan.Name) {
			open++
		}
	}
	after := *before
	switch {
	case open > 0 && before.Since.IsZero():
		after.Since = e.Now()
		e.log().Error("diverged: modal has service users of this mount that nothing answers for, so it ends nothing by itself", "orphans", open)
		e.event(ctx, Event{Kind: EventOutOfSync})
	case open == 0 && !before.Since.IsZero():
		after.Since = time.Time{}
		e.log().Info("in sync again")
	default:
		return open, nil
	}
	return open, e.divergence.Put(ctx, "", &after)
}

// fenced says why the worker may end nothing now, asking Modal where the last look is too old.
func (e *Engine) fenced(ctx context.Context) error {
	unlock, err := e.lockFence(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	looked, stays, list := e.fence.last()
	if age := e.Now().Sub(looked); age >= fenceLife || age < 0 || list != nil { // a look that failed does not count
		if err = e.lookLocked(ctx); err != nil {
			return err
		}
		_, stays, list = e.fence.last()
	}
	return errors.Join(stays, list)
}

// mayEnd says what the last look leaves to the worker: nothing, members' tokens, or all. What an operator
// wants ended is.
func (e *Engine) mayEnd(entry *Revocation) error {
	_, stays, list := e.fence.last()
	switch {
	case entry.Forced:
		return nil
	case stays != nil:
		return stays
	case entry.IdentityType == modalapi.IdentityServiceUser:
		return list
	}
	return nil
}

// silentSince is since when Modal does not answer.
func (e *Engine) silentSince() time.Time {
	e.fence.mu.Lock()
	defer e.fence.mu.Unlock()
	return e.fence.silent
}

// doubtFence has the next lease that ends look first.
func (e *Engine) doubtFence() {
	e.fence.mu.Lock()
	defer e.fence.mu.Unlock()
	e.fence.looked = time.Time{}
}

// errNoFence says that nobody can list the service users: then there is nothing to compare with.
var errNoFence = errors.New("no admin token lists the service users")

// orphans are what two looks find: what ended between Modal's list and the ledger is no longer at Modal.
func (e *Engine) orphans(ctx context.Context, cfg *Config) ([]modalapi.ServiceUser, error) {
	users, err := e.unknownUsers(ctx, cfg)
	if err != nil || len(users) == 0 {
		return nil, err
	}
	again, err := e.unknownUsers(ctx, cfg)
	still := map[string]bool{}
	for _, user := range again {
		still[user.Name] = true
	}
	return slices.DeleteFunc(users, func(user modalapi.ServiceUser) bool { return !still[user.Name] }), err
}

// unknownUsers are the service users of this mount, by their names, that no role, lease or revocation answers
// for. Modal is asked first, so that what is made meanwhile is known here; what is younger than a mint may
// be somebody's who has not written yet. What Modal made far ahead of this node's clock is not young, and
// once the mount is out of sync nothing is, as a moment of youth would let it end things.
func (e *Engine) unknownUsers(ctx context.Context, cfg *Config) ([]modalapi.ServiceUser, error) {
	a, err := e.admin(cfg)
	if err != nil {
		return nil, errNoFence
	}
	defer a.release()
	users, err := a.ServiceUsers(ctx, a.token)
	switch modalapi.KindOf(err) {
	case modalapi.KindUnsupported, modalapi.KindConflict:
		return nil, errNoFence
	case modalapi.KindForbidden, modalapi.KindRefused:
		return nil, fmt.Errorf("%w: %w", errNoFence, err)
	default:
	}
	if err != nil {
		return nil, err
	}
	diverged, err := e.OutOfSync(ctx)
	if err != nil {
		return nil, err
	}
	users = slices.DeleteFunc(users, func(user modalapi.ServiceUser) bool {
		young := !diverged && e.Now().Sub(user.CreatedAt).Abs() < unfinishedAfter
		return young || !strings.HasPrefix(user.Name, e.namePrefix())
	})
	if len(users) == 0 {
		return nil, nil
	}
	answered, err := e.answeredFor(ctx)
	return slices.DeleteFunc(users, func(user modalapi.ServiceUser) bool { return answered[user.Name] || answered[user.TokenID] }), err
}

// answeredFor are the names of the service users that storage knows, and the IDs of the tokens: of one that was
// stored unproven nothing tells whose it is. An entry that cannot be read answers by its key, which is either.
func (e *Engine) answeredFor(ctx context.Context) (map[string]bool, error) {
	roles, err := e.credentials.List(ctx)
	if err != nil {
		return nil, err
	}
	current, failures := make([]*Credential, len(roles)), make([]error, len(roles))
	eachOf(roles, maxConcurrentReads, func(i int, role string) { current[i], failures[i] = e.credentials.Get(ctx, role) })
	if err = errors.Join(failures...); err != nil {
		return nil, fmt.Errorf("a role's token cannot be read, so which service users are orphans is not known, and nothing is ended: %w", err)
	}
	entries, unreadable, err := e.Ledger(ctx)
	answered := map[string]bool{}
	for _, cred := range current {
		if cred != nil {
			answered[cred.Identity], answered[cred.ID] = true, true
		}
	}
	for _, entry := range entries {
		answered[entry.Identity], answered[entry.ID] = true, true
	}
	for _, key := range unreadable {
		answered[key] = true
	}
	delete(answered, "") // what is not known, here or at Modal
	return answered, err
}
