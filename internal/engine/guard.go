// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

const (
	// comparisonLife is how long a comparison of storage with Modal counts for the end of leases.
	comparisonLife = time.Minute
	// listLag is how long Modal's list may still show a service user that this mount deleted.
	listLag = unfinishedAfter
	// mintUse is how long after its creation the engine itself may use a new token.
	mintUse = 2 * time.Minute
)

// divergence is what is stored of the comparison with Modal: since when the mount is out of sync, zero while it is
// in sync, and which orphans an operator has accepted.
type divergence struct {
	Since    time.Time `json:"since,omitzero"`
	Accepted []string  `json:"accepted,omitempty"`
}

// restoreGuard remembers what the last comparison of storage with Modal found. A copy of the mount, or a restored
// snapshot, may take tokens for old that another mount returns to consumers. Service users of this mount that
// storage does not know show it.
type restoreGuard struct {
	mu sync.Mutex // never held during a call to Modal
	// compared is when a comparison last succeeded, zero for never since the start.
	compared time.Time
	// settled reports that no comparison is needed until something is to be deleted: one was done since the start, or
	// no list can be had, and no unknown service user was too new to judge.
	settled bool
	// current reports that the last look succeeded, or that no list can be had.
	current bool
	looked  time.Time
	blocked blocked
	// silentSince is since when Modal has not answered, zero while it answers.
	silentSince time.Time
	// deleted is when this process deleted service users, by name, for as long as Modal's list may still show them.
	deleted map[string]time.Time
}

// blocked is why the engine deletes nothing by itself (all), and why it deletes no service user; nil for no reason.
type blocked struct{ all, serviceUsers error }

// look is what one look at Modal found.
type look struct {
	at                time.Time
	compared, settled bool
	blocked           blocked
}

func (g *restoreGuard) store(l look) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looked, g.blocked = l.at, l.blocked
	g.settled, g.current = l.settled, l.blocked.serviceUsers == nil
	if l.compared {
		g.compared = l.at
	}
	switch {
	case l.blocked.serviceUsers == nil:
		g.silentSince = time.Time{}
	case g.silentSince.IsZero():
		g.silentSince = l.at
	}
}

// last returns what the last look blocks. fresh reports whether that look still counts.
func (g *restoreGuard) last(now time.Time) (b blocked, fresh bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	age := now.Sub(g.looked)
	return g.blocked, g.current && age >= 0 && age < comparisonLife
}

// silence returns since when Modal has not answered, zero while it answers.
func (g *restoreGuard) silence() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.silentSince
}

// lastCompared returns when a comparison last succeeded, zero for never since the start.
func (g *restoreGuard) lastCompared() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.compared
}

func (g *restoreGuard) needsComparison() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.settled
}

// forget has the next tick, and the next lease that ends, compare again: another admin token may see what this one
// did not.
func (g *restoreGuard) forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looked, g.settled, g.current = time.Time{}, false, false
}

// noteDeleted remembers that this process deleted a service user.
func (g *restoreGuard) noteDeleted(name string, now time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	maps.DeleteFunc(g.deleted, func(_ string, at time.Time) bool { return now.Sub(at).Abs() >= listLag })
	if g.deleted == nil {
		g.deleted = map[string]time.Time{}
	}
	if name != "" {
		g.deleted[name] = now
	}
}

// mayLinger reports whether Modal's list may still show a service user that this process deleted.
func (g *restoreGuard) mayLinger(name string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, deleted := g.deleted[name]
	return deleted && now.Sub(at).Abs() < listLag
}

// compareWithModal compares storage with Modal's list of service users, and stores whether the mount is out of sync.
// Only a list that arrived, or an operator, ends that state: an engine that cannot see has not seen that all is well.
func (e *Engine) compareWithModal(ctx context.Context) error {
	unlock, err := e.lockComparison(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return e.compareLocked(ctx)
}

// lockComparison serialises comparisons, and what is stored of them. A caller that waits may go away.
func (e *Engine) lockComparison(ctx context.Context) (unlock func(), err error) {
	if unlock, err = e.locks.hold(ctx, "orphans"); err != nil {
		return nil, fmt.Errorf("compare storage with Modal: another request still does: %w", ctx.Err())
	}
	return unlock, nil
}

func (e *Engine) compareLocked(ctx context.Context) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	now := e.Now()
	orphans, err := e.findOrphans(ctx, cfg)
	if err != nil {
		return e.notCompared(ctx, now, err)
	}
	outOfSync, err := e.isOutOfSync(ctx)
	if err != nil {
		return err
	}
	// While the mount is out of sync, skip the age check: a new unknown service user could otherwise stay hidden for
	// ten minutes.
	judged := slices.DeleteFunc(slices.Clone(orphans), func(orphan Orphan) bool { return !outOfSync && orphan.isTooNewToJudge(now) })
	open, err := e.storeComparison(ctx, judged)
	if err != nil {
		return err
	}
	found := look{at: now, compared: true, settled: len(judged) == len(orphans)}
	if open > 0 {
		found.blocked.all = e.outOfSyncError(fmt.Sprintf("%d service users", open))
	}
	e.guard.store(found)
	return nil
}

// notCompared stores that Modal gave no list. A mount that is out of sync stays so.
func (e *Engine) notCompared(ctx context.Context, now time.Time, cause error) error {
	if isStorageError(cause) && !errors.Is(cause, errNoList) {
		return cause
	}
	outOfSync, err := e.isOutOfSync(ctx)
	if err != nil {
		return err
	}
	found := look{at: now, settled: errors.Is(cause, errNoList)}
	if outOfSync {
		found.blocked.all = e.outOfSyncError("service users")
	}
	if !errors.Is(cause, errNoList) {
		found.blocked.serviceUsers = fmt.Errorf("Modal does not list the service users, so none is deleted: %w", cause)
	}
	e.guard.store(found)
	return nil
}

// outOfSyncError is what a mount says that deletes nothing by itself.
func (e *Engine) outOfSyncError(orphans string) error {
	return Refusef("the mount is out of sync: Modal has %s of this mount that Vault does not track, as after a restored snapshot or in a copy, so the engine deletes nothing by itself; "+
		"look at them with: vault list -detailed %sorphans, then delete them (vault write %sorphans dry_run=false) or keep them (vault write %sorphans accept=true)",
		orphans, e.mount(), e.mount(), e.mount())
}

// storeComparison stores, when it changes, whether there are orphans that nobody has accepted. It keeps the names of
// accepted orphans that this list does not show: the list may be another workspace's.
func (e *Engine) storeComparison(ctx context.Context, orphans []Orphan) (open int, err error) {
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
		e.log().Error("out of sync: modal has service users of this mount that vault does not track, so the engine deletes nothing by itself", "orphans", open)
		e.event(ctx, Event{Kind: EventOutOfSync})
	case open == 0 && !before.Since.IsZero():
		after.Since = time.Time{}
		e.log().Info("in sync again")
	default:
		return open, nil
	}
	return open, e.divergence.Put(ctx, "", &after)
}

// fenced returns why the engine may delete nothing now. It asks Modal where the last look does not count any more. A
// look that failed does not count.
func (e *Engine) fenced(ctx context.Context) error {
	unlock, err := e.lockComparison(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	found, fresh := e.guard.last(e.Now())
	if !fresh {
		if err = e.compareLocked(ctx); err != nil {
			return err
		}
		found, _ = e.guard.last(e.Now())
	}
	return errors.Join(found.all, found.serviceUsers)
}

// OutOfSync reports whether the mount deletes nothing by itself, as the last comparison found.
func (e *Engine) OutOfSync(ctx context.Context) (bool, error) { return e.isOutOfSync(ctx) }

func (e *Engine) isOutOfSync(ctx context.Context) (bool, error) {
	stored, err := e.divergence.Get(ctx, "")
	return stored != nil && !stored.Since.IsZero(), err
}

// errNoList says that no list of service users can be had, so there is nothing to compare with.
var errNoList = errors.New("no admin token lists the service users")

// findOrphans returns the orphans that two looks find: a service user that was deleted between Modal's list and the
// read of storage is no longer at Modal at the second look.
func (e *Engine) findOrphans(ctx context.Context, cfg *Config) ([]Orphan, error) {
	orphans, err := e.unknownUsers(ctx, cfg)
	if err != nil || len(orphans) == 0 {
		return nil, err
	}
	again, err := e.unknownUsers(ctx, cfg)
	still := map[string]bool{}
	for _, orphan := range again {
		still[orphan.Name] = true
	}
	return slices.DeleteFunc(orphans, func(orphan Orphan) bool { return !still[orphan.Name] }), err
}

// unknownUsers returns the service users of this mount, by their names, that storage does not refer to, and the
// candidates of unfinished creations that somebody uses. Modal is asked first, so that storage knows what is created
// meanwhile.
func (e *Engine) unknownUsers(ctx context.Context, cfg *Config) ([]Orphan, error) {
	a, err := e.admin(cfg)
	if err != nil {
		return nil, errNoList
	}
	defer a.release()
	users, err := a.ServiceUsers(ctx, a.token)
	switch modalapi.KindOf(err) {
	case modalapi.KindUnsupported, modalapi.KindConflict:
		return nil, fmt.Errorf("%w: %w", errNoList, err)
	default:
	}
	if err != nil {
		return nil, a.explain(err)
	}
	users = slices.DeleteFunc(users, func(user modalapi.ServiceUser) bool {
		return !strings.HasPrefix(user.Name, e.namePrefix()) || e.guard.mayLinger(user.Name, e.Now())
	})
	if len(users) == 0 {
		return nil, nil
	}
	tracked, err := e.trackedUsers(ctx)
	if err != nil {
		return nil, err
	}
	var orphans []Orphan
	for _, user := range users {
		if tracked.has(user) && !tracked.isUsedElsewhere(user) {
			continue
		}
		orphans = append(orphans, Orphan{ServiceUser: user, Age: e.Now().Sub(user.CreatedAt)})
	}
	return orphans, nil
}

// tracked is what storage refers to.
type tracked struct {
	// names are names of service users, IDs of tokens, and keys of revocations that cannot be read, which are either.
	names map[string]bool
	// candidates are the service users of unfinished creations that the engine has not begun to delete.
	candidates map[string]bool
}

func (t *tracked) has(user modalapi.ServiceUser) bool {
	return t.names[user.Name] || t.names[user.TokenID]
}

// isUsedElsewhere reports whether a candidate was used later than its creation can explain. Then this storage is older
// than Modal's truth: the candidate became current, or a lease, a moment after the snapshot was taken.
func (t *tracked) isUsedElsewhere(user modalapi.ServiceUser) bool {
	return t.candidates[user.Name] && user.LastUsedAt.Sub(user.CreatedAt) > mintUse
}

// trackedUsers reads all of storage that refers to service users. The token ID counts too: an unverified token's
// service user is not known.
func (e *Engine) trackedUsers(ctx context.Context) (*tracked, error) {
	roles, err := e.credentials.List(ctx)
	if err != nil {
		return nil, err
	}
	current, failures := make([]*Credential, len(roles)), make([]error, len(roles))
	eachOf(roles, maxConcurrentReads, func(i int, role string) { current[i], failures[i] = e.credentials.Get(ctx, role) })
	if err = errors.Join(failures...); err != nil {
		return nil, fmt.Errorf("a role's token cannot be read, so which service users are orphans is not known, and the engine deletes nothing: %w", err)
	}
	entries, unreadable, err := e.Ledger(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	t := &tracked{names: map[string]bool{cfg.adminID(): true}, candidates: map[string]bool{}}
	for _, cred := range current {
		if cred != nil {
			t.names[cred.serviceUser()], t.names[cred.ID] = true, true
		}
	}
	for _, entry := range entries {
		t.names[entry.serviceUser()], t.names[entry.ID] = true, true
		if entry.Reason == reasonUnfinished && !entry.Begun && !entry.Forced {
			t.candidates[entry.Identity] = true
		}
	}
	for _, cred := range current { // after a cut the current token's own candidate may still be in the queue
		if cred != nil {
			delete(t.candidates, cred.serviceUser())
		}
	}
	for _, key := range unreadable {
		t.names[key] = true
	}
	delete(t.names, "") // what is not known, here or at Modal
	return t, nil
}
