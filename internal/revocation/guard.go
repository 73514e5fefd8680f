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
	// comparisonLife is how long a comparison of storage with Modal counts when a lease ends.
	comparisonLife = time.Minute
	// listLag is how long Modal's list may still show a service user that this mount deleted.
	listLag = model.UnfinishedAfter
	// mintUse is how long after the creation of a token the engine itself may use that token.
	mintUse = 2 * time.Minute
)

// Guard is the restore guard: it remembers the result of the last comparison of storage with Modal. The storage of a
// restored snapshot, or of a copied mount, can be older than Modal's state. That storage lists tokens as replaced that
// consumers still get from another mount. Service users of this mount that Vault does not track reveal this state.
type Guard struct {
	mount *state.Mount

	mu sync.Mutex // no call to Modal while it is locked
	// lastSuccess is the time of the last successful comparison since the start, or zero.
	lastSuccess time.Time
	// canWait reports that no comparison is needed before the next deletion. That holds in two cases: Modal gives this
	// mount no list, or a comparison succeeded since the start and judged every unknown service user.
	canWait bool
	// lastSucceeded reports that the last comparison succeeded, or that Modal gives no list to this mount.
	lastSucceeded bool
	// lastAttempt is the time of the last comparison, even if it failed.
	lastAttempt time.Time
	// configChanges is the number of changes of config before the last comparison. After another change of config, that
	// comparison no longer counts.
	configChanges int64
	blocked       blocked
	// noAnswerSince is the time since which Modal has not answered, or zero while Modal answers.
	noAnswerSince time.Time
	// deleted maps the name of each service user that this process deleted to the time of the deletion. A name stays as
	// long as Modal's list may still show the service user.
	deleted map[string]time.Time
}

// NewGuard returns the restore guard of a mount. It calls neither storage nor Modal.
func NewGuard(m *state.Mount) *Guard { return &Guard{mount: m} }

// blocked tells why the engine may not delete anything by itself (blockedAll), and why it may not delete service
// users (blockedServiceUsers). A nil error means that the deletion is allowed.
type blocked struct{ blockedAll, blockedServiceUsers error }

// comparison is the result of one comparison of storage with Modal.
type comparison struct {
	at                time.Time
	configChanges     int64
	compared, canWait bool
	blocked           blocked
}

func (g *Guard) store(found comparison) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lastAttempt, g.blocked, g.configChanges = found.at, found.blocked, found.configChanges
	g.canWait, g.lastSucceeded = found.canWait, found.blocked.blockedServiceUsers == nil
	if found.compared {
		g.lastSuccess = found.at
	}
	switch {
	case found.blocked.blockedServiceUsers == nil:
		g.noAnswerSince = time.Time{}
	case g.noAnswerSince.IsZero():
		g.noAnswerSince = found.at
	}
}

// last returns the deletions that the last comparison blocks. fresh reports whether that comparison still counts.
func (g *Guard) last(now time.Time) (b blocked, fresh bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	age := now.Sub(g.lastAttempt)
	return g.blocked, g.lastSucceeded && g.configChanges == g.mount.ConfigChanges() && age >= 0 && age < comparisonLife
}

// noAnswer returns the time since which Modal has not answered, or zero while Modal answers.
func (g *Guard) noAnswer() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.noAnswerSince
}

// LastCompared returns the time of the last successful comparison since the start, or zero.
func (g *Guard) LastCompared() time.Time {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.lastSuccess
}

// NeedsComparison reports whether the next tick has to compare storage with Modal.
func (g *Guard) NeedsComparison() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.canWait || g.configChanges != g.mount.ConfigChanges()
}

// CompareAgain makes the next tick, and the next lease that ends, compare again.
func (g *Guard) CompareAgain() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lastAttempt, g.canWait, g.lastSucceeded = time.Time{}, false, false
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

// mayStillBeListed reports whether Modal's list may still show a service user that this process deleted.
func (g *Guard) mayStillBeListed(name string, now time.Time) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	at, deleted := g.deleted[name]
	return deleted && now.Sub(at).Abs() < listLag
}

// Compare compares storage with Modal's list of service users, and stores whether the mount is out of sync. Only a
// list that arrived, or an operator, ends that state: without a list the engine cannot know that the orphans are
// gone.
func (g *Guard) Compare(ctx context.Context) error {
	unlock, err := g.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	return g.compareLocked(ctx)
}

// CompareWithPresentConfig compares again if config changed after the last comparison began. That comparison may have had
// another admin token, or none that lists service users.
func (g *Guard) CompareWithPresentConfig(ctx context.Context) error {
	if !g.configChanged() {
		return nil
	}
	unlock, err := g.Lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for g.configChanged() {
		if err = g.compareLocked(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (g *Guard) configChanged() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.configChanges != g.mount.ConfigChanges()
}

// Lock ensures that only one request compares and stores the result at a time. A waiting caller can be canceled.
func (g *Guard) Lock(ctx context.Context) (unlock func(), err error) {
	if unlock, err = g.mount.LockComparison(ctx); err != nil {
		return nil, fmt.Errorf("storage was not compared with Modal, because this request was canceled while another one compared: %w", ctx.Err())
	}
	return unlock, nil
}

// compareLocked does the work of Compare. The caller holds the lock that Lock returns.
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
	found := comparison{at: now, configChanges: changes, compared: true, canWait: len(judged) == len(orphans)}
	if open > 0 {
		found.blocked.blockedAll = g.outOfSyncError(fmt.Sprintf("%d service users", open))
	}
	g.store(found)
	return nil
}

// recordNoList stores that Modal gave no list. A mount that is out of sync stays out of sync.
func (g *Guard) recordNoList(ctx context.Context, found comparison, cause error) error {
	if model.IsStorageError(cause) && !errors.Is(cause, errNoList) {
		return cause
	}
	outOfSync, err := g.mount.IsOutOfSync(ctx)
	if err != nil {
		return err
	}
	found.canWait = errors.Is(cause, errNoList)
	if outOfSync {
		found.blocked.blockedAll = g.outOfSyncError("service users")
	}
	if !errors.Is(cause, errNoList) {
		found.blocked.blockedServiceUsers = fmt.Errorf("service users are not deleted, because Modal does not list them: %w", cause)
	}
	g.store(found)
	return nil
}

// outOfSyncError returns the error of a mount that is out of sync. orphans says how many orphans there are.
func (g *Guard) outOfSyncError(orphans string) error {
	run := g.mount.Commands()
	return model.UserErrorf("the mount is out of sync: Modal has %s of this mount that Vault does not track, as after a restored snapshot or in a copy of the mount; "+
		"the engine deletes nothing by itself until you decide: list them with: %s, then delete them with: %s, or keep them with: %s",
		orphans, run.ListOrphans(), run.DeleteOrphans(), run.AcceptOrphans())
}

// storeComparison stores, if that changed, whether there are orphans that no operator has accepted. It keeps the
// names of accepted orphans that this list does not show, because the list may be of another workspace.
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

// CheckDeletion returns an error if the engine may not delete anything now. If the last comparison failed or no
// longer counts, CheckDeletion compares again first.
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

// errNoList says that Modal gives no list of service users to this mount, so there is nothing to compare with.
var errNoList = errors.New("no admin token lists the service users")

// findOrphans returns the service users that are orphans in two comparisons in a row. A service user may be deleted
// after Modal's list and before the read of storage. The second list no longer shows that service user.
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

// unknownUsers returns the service users with this mount's name prefix that storage does not refer to, and the
// candidates of unfinished creations that somebody uses elsewhere. It asks Modal before it reads storage, so that
// storage already knows each service user that is created meanwhile.
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
		return !strings.HasPrefix(user.Name, g.mount.NamePrefix()) || g.mayStillBeListed(user.Name, g.mount.Now())
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

// tracked is the set of service users and tokens that storage refers to.
type tracked struct {
	// names are names of service users, IDs of tokens, and keys of revocations that cannot be read. An unreadable key
	// is a name or an ID.
	names map[string]bool
	// candidates are the service users of unfinished creations that the engine has not started to delete.
	candidates map[string]bool
}

func (t *tracked) has(user modalapi.ServiceUser) bool {
	return t.names[user.Name] || t.names[user.TokenID]
}

// isUsedElsewhere reports whether a candidate was used later than its creation can explain. In that case this storage
// is older than Modal's state: the candidate became a current token or a lease just after the snapshot was taken.
func (t *tracked) isUsedElsewhere(user modalapi.ServiceUser) bool {
	return t.candidates[user.Name] && user.LastUsedAt.Sub(user.CreatedAt) > mintUse
}

// trackedUsers reads everything in storage that refers to a service user. It includes token IDs, because the service
// user of an unverified token is not known.
func (g *Guard) trackedUsers(ctx context.Context) (*tracked, error) {
	roles, err := g.mount.Credentials.List(ctx)
	if err != nil {
		return nil, err
	}
	current, failures := make([]*model.Credential, len(roles)), make([]error, len(roles))
	state.EachOf(roles, state.MaxConcurrentReads, func(i int, role string) { current[i], failures[i] = g.mount.Credentials.Get(ctx, role) })
	if err = errors.Join(failures...); err != nil {
		return nil, fmt.Errorf("the engine deletes nothing, because a role's token cannot be read and so it cannot tell which service users are orphans: %w", err)
	}
	entries, unreadable, err := g.mount.AllRevocations(ctx)
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
	// After a crash, the revocation of a finished creation may still be in the queue.
	for _, cred := range current {
		if cred != nil {
			delete(t.candidates, cred.ServiceUserName())
		}
	}
	for _, entry := range entries {
		if entry.Reason != model.ReasonUnfinished {
			delete(t.candidates, entry.ServiceUserName())
		}
	}
	for _, key := range unreadable {
		t.names[key] = true
	}
	delete(t.names, "") // an empty name or ID matches nothing
	return t, nil
}

// Accept keeps orphans at Modal, so that they no longer block deletions. An orphan may be the candidate of an
// unfinished creation. Accept removes that revocation first, so that the worker does not delete the candidate.
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

// removeCandidate removes the revocation of an unfinished creation that the engine has not started to delete.
func (g *Guard) removeCandidate(ctx context.Context, name string) error {
	entry, err := g.mount.Revocations.Get(ctx, name)
	if err != nil || entry == nil || entry.Reason != model.ReasonUnfinished || entry.DeletionStarted || entry.Forced {
		return err
	}
	return g.mount.Revocations.Delete(ctx, name)
}
