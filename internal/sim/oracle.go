// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// clockGrain is the tolerance for the end of a promise. The engine keeps whole seconds, and computes a promise a
// moment before it stores it.
const clockGrain = 2 * time.Second

// oracle judges a run by the data in Modal and in storage.
type oracle struct {
	run *Run

	mu     sync.Mutex
	tokens map[string]*tokenRecord // by token ID
	// untracked are service users that the engine need not know, for example because a restore removed their
	// history.
	untracked map[string]bool
	// forgettable are revocations that an operator removed without proof.
	forgettable map[string]bool
	// deleted counts the deletions of each role. A role created again starts at version 1.
	deleted map[string]int
	// owners maps each token to its owner at Modal. sentByOperator are tokens that an operator sent to another
	// server. callsChecked counts the checked calls of each server.
	owners         map[string]ownership
	sentByOperator map[string]bool
	callsChecked   map[*modaltest.Server]int
	// foreign are the tokens of service users that this mount did not create.
	foreign map[string]bool
	// rolesChanged are the service users whose environment roles somebody changed, until a write repairs them.
	rolesChanged map[string]bool
	// expiryChanged are the tokens whose expiry somebody changed.
	expiryChanged map[string]bool
	// requests maps a flow to the request that started it. flows maps an approved token to its flow.
	requests map[string]approvalRequest
	flows    map[string]string
	// withoutToken are the static roles that never had a token.
	withoutToken map[string]bool
	// forceDeleted is when a role was last deleted with force. lastRoleWrite is when a role was last written.
	forceDeleted, lastRoleWrite map[string]time.Time
	// awaitsDecision: a snapshot was restored, and no operator has decided about orphans yet.
	awaitsDecision bool
	// acceptedOrphans are the orphans that the mount accepted. mustLive are the orphans that must live because an
	// operator accepted them. excusedUsers are the service users that somebody deleted by hand.
	acceptedOrphans, mustLive, excusedUsers map[string]bool
	// userNames maps service user IDs to names. others maps the token of a service user to the name, and back.
	userNames, others map[string]string
	// limitsChangedAt is when the limits in config last changed.
	limitsChangedAt time.Time
	// adminWorkspace is the workspace of the last verified admin token. displaced are tokens that a role stored
	// unverified, and that another role or config then brought with verification.
	adminWorkspace string
	displaced      map[string]bool
	// rotateEvents counts the events of each role and version.
	rotateEvents map[string]int
	// trueSecrets are the right secrets of tokens that operators bring with verify=false.
	trueSecrets map[string]string
}

func newOracle(run *Run) *oracle {
	return &oracle{
		run: run, tokens: map[string]*tokenRecord{}, untracked: map[string]bool{}, forgettable: map[string]bool{}, deleted: map[string]int{}, owners: map[string]ownership{}, sentByOperator: map[string]bool{}, callsChecked: map[*modaltest.Server]int{}, foreign: map[string]bool{}, rolesChanged: map[string]bool{}, expiryChanged: map[string]bool{}, requests: map[string]approvalRequest{}, flows: map[string]string{}, withoutToken: map[string]bool{},
		forceDeleted: map[string]time.Time{}, lastRoleWrite: map[string]time.Time{}, acceptedOrphans: map[string]bool{}, mustLive: map[string]bool{}, excusedUsers: map[string]bool{}, userNames: map[string]string{}, others: map[string]string{}, displaced: map[string]bool{}, trueSecrets: map[string]string{}, rotateEvents: map[string]int{},
	}
}

// stillAtModal reports whether Modal accepts the token. If the revocation has no token ID, it reports whether the
// service user exists.
func (o *oracle) stillAtModal(t storedToken) bool {
	if t.ID != "" {
		return o.isLive(t.ID) || o.run.modals.Accepts(t.ID, t.Secret)
	}
	return slices.ContainsFunc(o.run.modals.ServiceUsers(), func(u modaltest.ServiceUserInfo) bool { return u.Name == t.Identity })
}

// tokensAtModal returns the tokens that Modal accepts, and those that it rejects only because they expired.
func (o *oracle) tokensAtModal() (live, expired map[string]bool) {
	live, expired = map[string]bool{}, map[string]bool{}
	for _, t := range o.run.modals.Tokens() {
		switch {
		case t.Disabled:
		case t.Expires.IsZero() || time.Now().Before(t.Expires):
			live[t.ID] = true
		default:
			expired[t.ID] = true
		}
	}
	return live, expired
}

func (o *oracle) isLive(id string) bool {
	live, _ := o.tokensAtModal()
	return live[id]
}

func (o *oracle) reportedRevoked(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	record := o.tokens[id]
	if record != nil && record.wasToggled {
		return
	}
	if o.isLive(id) || (record != nil && record.secret != "" && o.run.modals.Accepts(id, record.secret)) {
		o.run.broken("the engine says that token %s is revoked, but Modal accepts it", id)
	}
}

// checkRead judges the credentials that a consumer got. before is the content of storage when the read started.
// It reports whether the consumer keeps them: an answer that is out of date is replaced by the next one.
func (o *oracle) checkRead(node, role string, r *reader, got *Credentials, before *truth) (keeps bool) {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.run.mayLag(node) && o.wasCurrent(role, got) {
		o.run.report.count("a standby's answer may be out of date")
		return false
	}
	current, exists := t.current[role]
	if was, existed := before.current[role]; got == nil && !existed || got != nil && existed && was.ID == got.ID {
		current, exists = was, existed // the answer was right when the read started
	}
	switch {
	case got == nil && o.withoutToken[role]:
	case got == nil && exists:
		o.run.broken("%s says that role %s does not exist", node, role)
	case got == nil:
	case !exists || got.ID != current.ID || got.Version != current.Version:
		o.run.broken("%s returns token %s, version %d of role %s, but the current token is %s, version %d",
			node, got.ID, got.Version, role, current.ID, current.Version)
	case got.Secret != current.Secret:
		o.run.broken("%s returns token %s of role %s with the secret of another token", node, got.ID, role)
	case r.last != nil && r.roleDeletions == o.deleted[role] && got.Version < r.last.Version:
		o.run.broken("the version of role %s fell from %d to %d", role, r.last.Version, got.Version)
	}
	r.roleDeletions = o.deleted[role]
	return true
}

// check compares Modal and storage with the invariants.
func (o *oracle) check() {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	live, expired := o.tokensAtModal()
	owners := map[string]string{}
	for _, role := range t.names() {
		cred, there := t.current[role]
		if !there {
			if !o.withoutToken[role] {
				o.run.broken("role %s has no token", role)
			}
			continue
		}
		if o.isDisplaced(cred) {
			continue
		}
		if two := owners[cred.ID]; two != "" {
			o.run.broken("roles %s and %s share token %s", two, role, cred.ID)
		}
		owners[cred.ID] = role
		if o.record(cred.ID).excuse == "" && !expired[cred.ID] && !o.run.modals.Accepts(cred.ID, cred.Secret) {
			o.run.broken("token %s of role %s worked before, and Modal rejects it now", cred.ID, role)
		}
	}
	if admin := t.admin; admin.ID != "" {
		if role := owners[admin.ID]; role != "" {
			o.run.broken("the admin token %s is also the token of role %s", admin.ID, role)
		}
		owners[admin.ID] = "config"
		if o.record(admin.ID).excuse == "" && !expired[admin.ID] && !o.run.modals.Accepts(admin.ID, admin.Secret) {
			o.run.broken("the admin token %s worked before, and Modal rejects it now", admin.ID)
		}
	}
	for _, u := range o.run.modals.ServiceUsers() {
		if o.expiryChanged[u.TokenID] && expired[u.TokenID] {
			continue // storage does not know the expiry, and no admin token can check whether the service user still exists
		}
		if strings.HasPrefix(u.Name, prefix) && !o.untracked[u.Name] && !t.tracks(u.Name, u.TokenID) {
			o.run.broken("Vault does not track service user %s", u.Name)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(o.tokens)) {
		record := o.tokens[id]
		if !record.tracked || owners[id] != "" {
			continue
		}
		if live[id] && !record.forgotten && !t.inQueue(id) {
			o.run.broken("token %s %s still works, is no longer current, and has no revocation", id, ofRole(record.role))
		}
		if !live[id] && o.mustBeExtended(record) {
			o.run.broken("token %s of role %s was used at %s and should work until %s, because the role has hold_while_used, but it was revoked", id, record.role, record.lastUsed.Format(time.DateTime), record.extendedUntil.Format(time.DateTime))
		}
		if record.isLease && expired[id] && o.run.clockSpread() == 0 && record.isPromised(time.Now()) {
			o.run.broken("token %s of a lease of role %s %s, but it expired", id, record.role, record.expectation())
		}
		if !live[id] && !expired[id] && record.isPromised(time.Now().Add(o.run.clockSpread())) {
			o.run.broken("token %s %s %s, but it was revoked", id, ofRole(record.role), record.expectation())
		}
	}
	for _, role := range slices.Sorted(maps.Keys(o.run.readers)) {
		last := o.run.readers[role].last
		if last == nil || o.run.modals.Accepts(last.ID, last.Secret) || expired[last.ID] || owners[last.ID] != "" {
			continue
		}
		if record := o.record(last.ID); record.excuse == "" && !record.mayEnd && !time.Now().Add(o.run.clockSpread()).After(record.promisedUntil) {
			o.run.broken("a reader of role %s uses token %s, and Modal rejects it", role, last.ID)
		}
	}
	o.checkAcceptedOrphans()
	o.checkStoredRights(t)
	o.checkCalls()
	o.checkForeign(live, expired)
	o.checkNeighbor()
}

// snapshotRestored resets the expectations to the restored storage. Promises made after the snapshot no longer
// count.
func (o *oracle) snapshotRestored() {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	live, _ := o.tokensAtModal()
	for id, record := range o.tokens {
		record.promisedUntil, record.mayEnd, record.role, record.tracked, record.manual = time.Time{}, true, "", false, false
		record.lastUsed, record.isLease = time.Time{}, false
		if !live[id] && record.excuse == "" {
			record.excuse = "it was gone when the snapshot was restored"
		}
	}
	for role, cred := range t.current {
		record := o.record(cred.ID)
		record.role, record.secret, record.mayEnd, record.tracked = role, cred.Secret, false, true
	}
	o.adminWorkspace = t.remembered
	if t.admin.ID != "" {
		record := o.record(t.admin.ID)
		record.mayEnd, record.tracked = false, true
		if !t.admin.Verified.IsZero() {
			o.adminWorkspace = t.admin.Workspace
		}
	}
	clear(o.displaced)
	owners := map[string]bool{t.admin.ID: true}
	for _, cred := range t.current {
		if !cred.Verified.IsZero() {
			owners[cred.ID] = true
		}
	}
	for _, cred := range t.current {
		o.displaced[cred.ID] = o.displaced[cred.ID] || cred.Verified.IsZero() && owners[cred.ID]
	}
	clear(o.withoutToken)
	for role, policy := range t.roles {
		o.withoutToken[role] = policy.Managed == nil && t.current[role].ID == ""
	}
	for _, revocation := range t.revocations {
		if revocation.ID != "" {
			record := o.record(revocation.ID)
			record.tracked, record.manual, record.forced = true, revocation.Method == "manual", record.forced || revocation.Forced
		}
	}
	for _, u := range o.run.modals.ServiceUsers() {
		if !t.tracks(u.Name, u.TokenID) {
			o.untracked[u.Name] = true
		}
	}
	clear(o.run.readers)
	clear(o.acceptedOrphans)
	for _, name := range t.acceptedOrphans {
		o.acceptedOrphans[name] = true
	}
	clear(o.mustLive)
	o.awaitsDecision = true
	for _, k := range o.run.vault.active(time.Now()) {
		if live[k.ID] && t.inQueue(k.ID) {
			record := o.record(k.ID)
			record.role, record.secret, record.mayEnd, record.isLease = k.Role, k.Secret, record.forced, true
			record.promise(k.ends.Add(-clockGrain), "the restored lease ends then")
		}
	}
}

// mayBlockDeletions reports whether the restore guard may block deletions, because no operator has decided about
// orphans yet.
func (o *oracle) mayBlockDeletions() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.awaitsDecision || len(o.orphansOf(o.run.disk.truth())) > 0
}
