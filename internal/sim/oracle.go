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

// clockGrain is how much sooner a promise may end: the engine keeps whole seconds, and dates a promise a
// moment before it is stored.
const clockGrain = 2 * time.Second

// oracle judges a life by what Modal and storage hold.
type oracle struct {
	run *Run

	mu     sync.Mutex
	tokens map[string]*tokenRecord // by ID
	// strangers are service users that nobody has to answer for, as those of a history that was undone.
	untracked map[string]bool
	// forgettable are entries of the ledger that an operator said to forget without proof.
	forgettable map[string]bool
	// deleted counts how often a role was deleted: its next one begins at version 1.
	deleted map[string]int
	// whose says whose each token is at Modal, brought are those that an operator sent to another one, and
	// looked how many calls of a server were looked at.
	owners         map[string]ownership
	sentByOperator map[string]bool
	callsChecked   map[*modaltest.Server]int
	// theirs are the tokens of service users that this mount did not make.
	foreign map[string]bool
	// drifted are the service users whose roles somebody changed, until a write mends them.
	rolesChanged map[string]bool
	// moved are the tokens whose expiry somebody changed.
	expiryChanged map[string]bool
	// asked is what a flow was begun for, by its ID, and approved are the tokens of flows.
	requests map[string]approvalRequest
	flows    map[string]string
	// bare are the static roles that have had no token yet.
	withoutToken map[string]bool
	// voided is when a role was last deleted by force, and limited when a dynamic one was last written.
	forceDeleted, lastRoleWrite map[string]time.Time
	// fenced: an old storage came back, and nobody has said what becomes of orphans.
	awaitsDecision bool
	// accepts are the orphans that the mount takes for accepted, spared those that must live for it, and
	// excusedUsers the service users that somebody deleted by hand.
	acceptedOrphans, mustLive, excusedUsers map[string]bool
	// users are the names of service users by their ID.
	userNames map[string]string
	// lowered is when the ceilings of config last changed.
	limitsChangedAt time.Time
	// adminOf is the workspace of the last verified admin token, and squatted are the tokens that a role held
	// unverified when another one, or config, brought them verified.
	adminWorkspace string
	displaced      map[string]bool
	// secrets are the right secrets of the tokens that operators bring without having Modal asked.
	trueSecrets map[string]string
}

func newOracle(run *Run) *oracle {
	return &oracle{
		run: run, tokens: map[string]*tokenRecord{}, untracked: map[string]bool{}, forgettable: map[string]bool{}, deleted: map[string]int{}, owners: map[string]ownership{}, sentByOperator: map[string]bool{}, callsChecked: map[*modaltest.Server]int{}, foreign: map[string]bool{}, rolesChanged: map[string]bool{}, expiryChanged: map[string]bool{}, requests: map[string]approvalRequest{}, flows: map[string]string{}, withoutToken: map[string]bool{},
		forceDeleted: map[string]time.Time{}, lastRoleWrite: map[string]time.Time{}, acceptedOrphans: map[string]bool{}, mustLive: map[string]bool{}, excusedUsers: map[string]bool{}, userNames: map[string]string{}, displaced: map[string]bool{}, trueSecrets: map[string]string{},
	}
}

// accepted says whether Modal accepts the token, or has the service user of an entry that knows no ID.
func (o *oracle) stillAtModal(t storedToken) bool {
	if t.ID != "" {
		return o.isLive(t.ID) || o.run.modals.Accepts(t.ID, t.Secret)
	}
	return slices.ContainsFunc(o.run.modals.ServiceUsers(), func(u modaltest.ServiceUserInfo) bool { return u.Name == t.Identity })
}

// atModal are the tokens that Modal would accept with their secret, and those that it refuses for their
// age alone.
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
		o.run.broken("token %s was said to be revoked, and Modal accepts it", id)
	}
}

// read judges what a consumer was handed.
func (o *oracle) checkRead(node, role string, r *reader, got *Credentials) {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	current, exists := t.current[role]
	switch {
	case got == nil && o.withoutToken[role]:
	case got == nil && exists:
		o.run.broken("%s says that role %s does not exist", node, role)
	case got == nil:
	case !exists || got.ID != current.ID || got.Version != current.Version:
		o.run.broken("%s hands out token %s, version %d of role %s, which is not the current one (%s, version %d)",
			node, got.ID, got.Version, role, current.ID, current.Version)
	case got.Secret != current.Secret:
		o.run.broken("%s hands out token %s of role %s with a secret that is not its own", node, got.ID, role)
	case r.last != nil && r.roleDeletions == o.deleted[role] && got.Version < r.last.Version:
		o.run.broken("the version of role %s fell from %d to %d", role, r.last.Version, got.Version)
	}
	r.roleDeletions = o.deleted[role]
}

// check holds Modal and storage to the invariants.
func (o *oracle) check() {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	live, expired := o.tokensAtModal()
	holders := map[string]string{}
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
		if two := holders[cred.ID]; two != "" {
			o.run.broken("roles %s and %s share token %s", two, role, cred.ID)
		}
		holders[cred.ID] = role
		if o.record(cred.ID).excuse == "" && !expired[cred.ID] && !o.run.modals.Accepts(cred.ID, cred.Secret) {
			o.run.broken("the token %s of role %s worked, and Modal refuses it now", cred.ID, role)
		}
	}
	if admin := t.admin; admin.ID != "" {
		if role := holders[admin.ID]; role != "" {
			o.run.broken("the admin token %s is the token of role %s too", admin.ID, role)
		}
		holders[admin.ID] = "config"
		if o.record(admin.ID).excuse == "" && !expired[admin.ID] && !o.run.modals.Accepts(admin.ID, admin.Secret) {
			o.run.broken("the admin token %s worked, and Modal refuses it now", admin.ID)
		}
	}
	for _, u := range o.run.modals.ServiceUsers() {
		if o.expiryChanged[u.TokenID] && expired[u.TokenID] {
			continue // no admin token could look whether it is still there, and storage does not know that its token expired
		}
		if strings.HasPrefix(u.Name, prefix) && !o.untracked[u.Name] && !t.tracks(u.Name, u.TokenID) {
			o.run.broken("nobody answers for service user %s", u.Name)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(o.tokens)) {
		record := o.tokens[id]
		if !record.tracked || holders[id] != "" {
			continue
		}
		if live[id] && !record.forgotten && !t.inQueue(id) {
			o.run.broken("token %s %s lives, is no longer current, and is not in the ledger", id, ofRole(record.role))
		}
		if !live[id] && o.mustBeExtended(record) {
			o.run.broken("token %s of role %s was used at %s, and is ended before its hold's end %s", id, record.role, record.lastUsed, record.extendedUntil)
		}
		if record.isLease && expired[id] && o.run.clockSpread() == 0 && record.isPromised(time.Now()) {
			o.run.broken("token %s of a lease of role %s expired before the lease's end %s", id, record.role, record.promisedUntil)
		}
		if !live[id] && !expired[id] && record.isPromised(time.Now().Add(o.run.clockSpread())) {
			o.run.broken("token %s %s was promised until %s", id, ofRole(record.role), record.promisedUntil.Format(time.DateTime))
		}
	}
	for _, role := range slices.Sorted(maps.Keys(o.run.readers)) {
		held := o.run.readers[role].last
		if held == nil || o.run.modals.Accepts(held.ID, held.Secret) || expired[held.ID] || holders[held.ID] != "" {
			continue
		}
		if record := o.record(held.ID); record.excuse == "" && !record.mayEnd && !time.Now().Add(o.run.clockSpread()).After(record.promisedUntil) {
			o.run.broken("the reader of role %s holds token %s, and Modal refuses it", role, held.ID)
		}
	}
	o.checkAcceptedOrphans()
	o.checkStoredRights(t)
	o.checkCalls()
	o.checkForeign(live, expired)
}

// restored begins anew from an old storage: what was promised in between was undone with it.
func (o *oracle) snapshotRestored() {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	live, _ := o.tokensAtModal()
	for id, record := range o.tokens {
		record.promisedUntil, record.mayEnd, record.role, record.tracked, record.manual = time.Time{}, true, "", false, false
		record.lastUsed, record.isLease = time.Time{}, false
		if !live[id] && record.excuse == "" {
			record.excuse = "it was gone when an old storage came back"
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
	holders := map[string]bool{t.admin.ID: true}
	for _, cred := range t.current {
		if !cred.Verified.IsZero() {
			holders[cred.ID] = true
		}
	}
	for _, cred := range t.current {
		o.displaced[cred.ID] = o.displaced[cred.ID] || cred.Verified.IsZero() && holders[cred.ID]
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
			record.role, record.secret, record.mayEnd, record.isLease, record.promisedUntil = k.Role, k.Secret, record.forced, true, k.ends.Add(-clockGrain)
		}
	}
}

// mayBeFenced says that nobody has said yet what becomes of orphans.
func (o *oracle) mayBlockDeletions() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.awaitsDecision || len(o.orphansOf(o.run.disk.truth())) > 0
}
