// SPDX-License-Identifier: MPL-2.0

package revocation

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
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

const (
	// comparisonLife is how long a comparison of storage with Modal counts for the end of leases.
	comparisonLife = time.Minute
	// listLag is how long Modal's list may still show a service user that this mount deleted.
	listLag = model.UnfinishedAfter
	// mintUse is how long after its creation the engine itself may use a new token.
	mintUse = 2 * time.Minute
)

// Guard remembers what the last comparison of storage with Modal found. A copy of the mount, or a restored
// snapshot, may take tokens for old that another mount returns to consumers. Service users of this mount that
// storage does not know show it.
type Guard struct {
	mount *state.Mount

	mu sync.Mutex // never held during a call to Modal
	// compared is when a comparison last succeeded, zero for never since the start.
	compared time.Time
	// settled reports that no comparison is needed until something is to be deleted: one was done since the start, or
	// no list can be had, and no unknown service user was too new to judge.
	settled bool
	// current reports that the last look succeeded, or that no list can be had.
	current bool
	looked  time.Time
	// configChanges is the count of config's changes before the last look, which counts only while it is the same.
	configChanges int64
	blocked       blocked
	// silentSince is since when Modal has not answered, zero while it answers.
	silentSince time.Time
	// deleted is when this process deleted service users, by name, for as long as Modal's list may still show them.
	deleted map[string]time.Time
}

// NewGuard returns the guard of a mount. It asks nobody.
func NewGuard(m *state.Mount) *Guard { return &Guard{mount: m} }

// blocked is why the engine deletes nothing by itself (all), and why it deletes no service user; nil for no reason.
type blocked struct{ blockedAll, blockedServiceUsers error }

// comparison is what one look at Modal found.
type comparison struct {
	at                time.Time
	configChanges     int64
	compared, settled bool
	blocked           blocked
}

func (g *Guard) store(l comparison) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looked, g.blocked, g.configChanges = l.at, l.blocked, l.configChanges
	g.settled, g.current = l.settled, l.blocked.blockedServiceUsers == nil
	if l.compared {
		g.compared = l.at
	}
	switch {
	case l.blocked.blockedServiceUsers == nil:
		g.silentSince = time.Time{}
	case g.silentSince.IsZero():
		g.silentSince = l.at
	}
}

// last returns what the last look blocks. fresh reports whether that look still counts.
func (g *Guard) last(now time.Time) (b blocked, fresh bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	age := now.Sub(g.looked)
	return g.blocked, g.current && g.configChanges == g.mount.ConfigChanges() && age >= 0 && age < comparisonLife
}

// silence returns since when Modal has not answered, zero while it answers.
func (g *Guard) silence() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.silentSince
}

// LastCompared returns when a comparison last succeeded, zero for never since the start.
func (g *Guard) LastCompared() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.compared
}

// NeedsComparison reports whether the next tick has to compare.
func (g *Guard) NeedsComparison() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.settled || g.configChanges != g.mount.ConfigChanges()
}

// Forget has the next tick, and the next lease that ends, compare again.
func (g *Guard) Forget() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.looked, g.settled, g.current = time.Time{}, false, false
}

// noteDeleted remembers that this process deleted a service user.
func (g *Guard) noteDeleted(name string, now time.Time) {
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
func (g *Guard) mayLinger(name string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, deleted := g.deleted[name]
	return deleted && now.Sub(at).Abs() < listLag
}

// Compare compares storage with Modal's list of service users, and stores whether the mount is out of sync.
// Only a list that arrived, or an operator, ends that state: an engine that cannot see has not seen that all is well.
func (g *Guard) Compare(ctx context.Context) error {
	unlock, err := g.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return g.compareLocked(ctx)
}

// Lock serialises comparisons, and what is stored of them. A caller that waits may go away.
func (g *Guard) Lock(ctx context.Context) (unlock func(), err error) {
	if unlock, err = g.mount.LockComparison(ctx); err != nil {
		return nil, fmt.Errorf("compare storage with Modal: another request still does: %w", ctx.Err())
	}
	return unlock, nil
}

func (g *Guard) compareLocked(ctx context.Context) error {
	changes := g.mount.ConfigChanges()
	cfg, err := g.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	now := g.mount.Now()
	orphans, err := g.findOrphans(ctx, cfg)
	if err != nil {
		return g.recordNoList(ctx, comparison{at: now, configChanges: changes}, err)
	}
	outOfSync, err := g.mount.IsOutOfSync(ctx)
	if err != nil {
		return err
	}
	// While the mount is out of sync, skip the age check: a new unknown service user could otherwise stay hidden for
	// ten minutes.
	judged := slices.DeleteFunc(slices.Clone(orphans), func(orphan Orphan) bool { return !outOfSync && orphan.isTooNewToJudge(now) })
	open, err := g.storeComparison(ctx, judged)
	if err != nil {
		return err
	}
	found := comparison{at: now, configChanges: changes, compared: true, settled: len(judged) == len(orphans)}
	if open > 0 {
		found.blocked.blockedAll = g.outOfSyncError(fmt.Sprintf("%d service users", open))
	}
	g.store(found)
	return nil
}

// recordNoList stores that Modal gave no list. A mount that is out of sync stays so.
func (g *Guard) recordNoList(ctx context.Context, found comparison, cause error) error {
	if model.IsStorageError(cause) && !errors.Is(cause, errNoList) {
		return cause
	}
	outOfSync, err := g.mount.IsOutOfSync(ctx)
	if err != nil {
		return err
	}
	found.settled = errors.Is(cause, errNoList)
	if outOfSync {
		found.blocked.blockedAll = g.outOfSyncError("service users")
	}
	if !errors.Is(cause, errNoList) {
		found.blocked.blockedServiceUsers = fmt.Errorf("service users are not deleted, because Modal does not list them: %w", cause)
	}
	g.store(found)
	return nil
}

// outOfSyncError is what a mount says that deletes nothing by itself.
func (g *Guard) outOfSyncError(orphans string) error {
	return model.UserErrorf("the mount is out of sync: Modal has %s of this mount that Vault does not track, as after a restored snapshot or in a copy, so the engine deletes nothing by itself; "+
		"look at them with: vault list -detailed %sorphans, then delete them (vault write %sorphans dry_run=false) or keep them (vault write %sorphans accept=true)",
		orphans, g.mount.CommandPrefix(), g.mount.CommandPrefix(), g.mount.CommandPrefix())
}

// storeComparison stores, when it changes, whether there are orphans that nobody has accepted. It keeps the names of
// accepted orphans that this list does not show: the list may be another workspace's.
func (g *Guard) storeComparison(ctx context.Context, orphans []Orphan) (open int, err error) {
	before, err := g.mount.OutOfSync.Get(ctx, "")
	if err != nil {
		return 0, err
	}
	if before == nil {
		before = &state.OutOfSync{}
	}
	for _, orphan := range orphans {
		if !slices.Contains(before.Accepted, orphan.Name) {
			open++
		}
	}
	after := *before
	switch {
	case open > 0 && before.Since.IsZero():
		after.Since = g.mount.Now()
		g.mount.Log().Error("out of sync: modal has service users of this mount that vault does not track, so the engine deletes nothing by itself", "orphans", open)
		g.mount.Publish(ctx, model.Event{Kind: model.EventOutOfSync})
	case open == 0 && !before.Since.IsZero():
		after.Since = time.Time{}
		g.mount.Log().Info("in sync again")
	default:
		return open, nil
	}
	return open, g.mount.OutOfSync.Put(ctx, "", &after)
}

// CheckDeletion returns why the engine may delete nothing now. It asks Modal where the last look does not count any more. A
// look that failed does not count.
func (g *Guard) CheckDeletion(ctx context.Context) error {
	unlock, err := g.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	found, fresh := g.last(g.mount.Now())
	if !fresh {
		if err = g.compareLocked(ctx); err != nil {
			return err
		}
		found, _ = g.last(g.mount.Now())
	}
	return errors.Join(found.blockedAll, found.blockedServiceUsers)
}

// errNoList says that no list of service users can be had, so there is nothing to compare with.
var errNoList = errors.New("no admin token lists the service users")

// findOrphans returns the orphans that two looks find: a service user that was deleted between Modal's list and the
// read of storage is no longer at Modal at the second look.
func (g *Guard) findOrphans(ctx context.Context, cfg *model.Config) ([]Orphan, error) {
	orphans, err := g.unknownUsers(ctx, cfg)
	if err != nil || len(orphans) == 0 {
		return nil, err
	}
	again, err := g.unknownUsers(ctx, cfg)
	still := map[string]bool{}
	for _, orphan := range again {
		still[orphan.Name] = true
	}
	return slices.DeleteFunc(orphans, func(orphan Orphan) bool { return !still[orphan.Name] }), err
}

// unknownUsers returns the service users of this mount, by their names, that storage does not refer to, and the
// candidates of unfinished creations that somebody uses. Modal is asked first, so that storage knows what is created
// meanwhile.
func (g *Guard) unknownUsers(ctx context.Context, cfg *model.Config) ([]Orphan, error) {
	a, err := g.mount.Admin(cfg)
	if err != nil {
		return nil, errNoList
	}
	defer a.Release()
	users, err := a.ServiceUsers(ctx, a.Token)
	switch modalapi.KindOf(err) {
	case modalapi.KindUnsupported, modalapi.KindConflict:
		return nil, fmt.Errorf("%w: %w", errNoList, err)
	default:
	}
	if err != nil {
		return nil, a.Explain(err)
	}
	users = slices.DeleteFunc(users, func(user modalapi.ServiceUser) bool {
		return !strings.HasPrefix(user.Name, g.mount.NamePrefix()) || g.mayLinger(user.Name, g.mount.Now())
	})
	if len(users) == 0 {
		return nil, nil
	}
	tracked, err := g.trackedUsers(ctx)
	if err != nil {
		return nil, err
	}
	var orphans []Orphan
	for _, user := range users {
		if tracked.has(user) && !tracked.isUsedElsewhere(user) {
			continue
		}
		orphans = append(orphans, Orphan{ServiceUser: user, Age: g.mount.Now().Sub(user.CreatedAt)})
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
func (g *Guard) trackedUsers(ctx context.Context) (*tracked, error) {
	roles, err := g.mount.Credentials.List(ctx)
	if err != nil {
		return nil, err
	}
	current, failures := make([]*model.Credential, len(roles)), make([]error, len(roles))
	state.EachOf(roles, state.MaxConcurrentReads, func(i int, role string) { current[i], failures[i] = g.mount.Credentials.Get(ctx, role) })
	if err = errors.Join(failures...); err != nil {
		return nil, fmt.Errorf("a role's token cannot be read, so which service users are orphans is not known, and the engine deletes nothing: %w", err)
	}
	entries, unreadable, err := g.mount.Revocations(ctx)
	if err != nil {
		return nil, err
	}
	cfg, err := g.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	t := &tracked{names: map[string]bool{cfg.AdminID(): true}, candidates: map[string]bool{}}
	for _, cred := range current {
		if cred != nil {
			t.names[cred.ServiceUserName()], t.names[cred.ID] = true, true
		}
	}
	for _, entry := range entries {
		t.names[entry.ServiceUserName()], t.names[entry.ID] = true, true
		if entry.Reason == model.ReasonUnfinished && !entry.DeletionStarted && !entry.Forced {
			t.candidates[entry.Identity] = true
		}
	}
	for _, cred := range current { // after a cut the current token's own candidate may still be in the queue
		if cred != nil {
			delete(t.candidates, cred.ServiceUserName())
		}
	}
	for _, key := range unreadable {
		t.names[key] = true
	}
	delete(t.names, "") // what is not known, here or at Modal
	return t, nil
}

// Accept keeps orphans at Modal, and the mount goes on. An orphan may be the candidate of an unfinished creation:
// then its revocation goes first, so that the worker does not delete the candidate.
func (g *Guard) Accept(ctx context.Context, names ...string) error {
	unlock, err := g.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, name := range names {
		if err = g.removeCandidate(ctx, name); err != nil {
			return err
		}
	}
	stored, err := g.mount.OutOfSync.Get(ctx, "")
	if err != nil {
		return err
	}
	after := state.OutOfSync{}
	if stored != nil {
		after = *stored
	}
	after.Accepted = slices.Compact(slices.Sorted(slices.Values(slices.Concat(after.Accepted, names))))
	g.mount.Log().Info("orphans accepted", "service_users", names)
	return g.mount.OutOfSync.Put(ctx, "", &after)
}

// removeCandidate removes the revocation of an unfinished creation that the engine has not begun to delete.
func (g *Guard) removeCandidate(ctx context.Context, name string) error {
	entry, err := g.mount.Queue.Get(ctx, name)
	if err != nil || entry == nil || entry.Reason != model.ReasonUnfinished || entry.DeletionStarted || entry.Forced {
		return err
	}
	return g.mount.Queue.Delete(ctx, name)
}
