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
	l *Life

	mu     sync.Mutex
	tokens map[string]*told // by ID
	// strangers are service users that nobody has to answer for, as those of a history that was undone.
	strangers map[string]bool
	// forgettable are entries of the ledger that an operator said to forget without proof.
	forgettable map[string]bool
	// deleted counts how often a role was deleted: its next one begins at version 1.
	deleted map[string]int
	// whose says whose each token is at Modal, brought are those that an operator sent to another one, and
	// looked how many calls of a server were looked at.
	whose   map[string]whose
	brought map[string]bool
	looked  map[*modaltest.Server]int
	// theirs are the tokens of service users that this mount did not make.
	theirs map[string]bool
	// drifted are the service users whose roles somebody changed, until a write mends them.
	drifted map[string]bool
	// moved are the tokens whose expiry somebody changed.
	moved map[string]bool
	// asked is what a flow was begun for, by its ID, and approved are the tokens of flows.
	asked    map[string]asked
	approved map[string]string
	// bare are the static roles that have had no token yet.
	bare map[string]bool
	// voided is when a role was last deleted by force, and limited when a dynamic one was last written.
	voided, limited map[string]time.Time
	// fenced: an old storage came back, and nobody has said what becomes of orphans.
	fenced bool
	// accepts are the orphans that the mount takes for accepted, spared those that must live for it, and
	// excusedUsers the service users that somebody deleted by hand.
	accepts, spared, excusedUsers map[string]bool
	// users are the names of service users by their ID.
	users map[string]string
	// lowered is when the ceilings of config last changed.
	lowered time.Time
	// adminOf is the workspace of the last verified admin token, and squatted are the tokens that a role held
	// unverified when another one, or config, brought them verified.
	adminOf  string
	squatted map[string]bool
	// secrets are the right secrets of the tokens that operators bring without having Modal asked.
	secrets map[string]string
}

func newOracle(l *Life) *oracle {
	return &oracle{
		l: l, tokens: map[string]*told{}, strangers: map[string]bool{}, forgettable: map[string]bool{}, deleted: map[string]int{}, whose: map[string]whose{}, brought: map[string]bool{}, looked: map[*modaltest.Server]int{}, theirs: map[string]bool{}, drifted: map[string]bool{}, moved: map[string]bool{}, asked: map[string]asked{}, approved: map[string]string{}, bare: map[string]bool{},
		voided: map[string]time.Time{}, limited: map[string]time.Time{}, accepts: map[string]bool{}, spared: map[string]bool{}, excusedUsers: map[string]bool{}, users: map[string]string{}, squatted: map[string]bool{}, secrets: map[string]string{},
	}
}

// accepted says whether Modal accepts the token, or has the service user of an entry that knows no ID.
func (o *oracle) accepted(t storedToken) bool {
	if t.ID != "" {
		return o.lives(t.ID) || o.l.modals.Accepts(t.ID, t.Secret)
	}
	return slices.ContainsFunc(o.l.modals.ServiceUsers(), func(u modaltest.ServiceUserInfo) bool { return u.Name == t.Identity })
}

// atModal are the tokens that Modal would accept with their secret, and those that it refuses for their
// age alone.
func (o *oracle) atModal() (live, expired map[string]bool) {
	live, expired = map[string]bool{}, map[string]bool{}
	for _, t := range o.l.modals.Tokens() {
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

func (o *oracle) lives(id string) bool {
	live, _ := o.atModal()
	return live[id]
}

func (o *oracle) saidRevoked(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	told := o.tokens[id]
	if told != nil && told.toggled {
		return
	}
	if o.lives(id) || (told != nil && told.secret != "" && o.l.modals.Accepts(id, told.secret)) {
		o.l.broken("token %s was said to be revoked, and Modal accepts it", id)
	}
}

// read judges what a consumer was handed.
func (o *oracle) read(node, role string, r *reader, got *Handout) {
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	current, exists := t.current[role]
	switch {
	case got == nil && o.bare[role]:
	case got == nil && exists:
		o.l.broken("%s says that role %s does not exist", node, role)
	case got == nil:
	case !exists || got.ID != current.ID || got.Version != current.Version:
		o.l.broken("%s hands out token %s, version %d of role %s, which is not the current one (%s, version %d)",
			node, got.ID, got.Version, role, current.ID, current.Version)
	case got.Secret != current.Secret:
		o.l.broken("%s hands out token %s of role %s with a secret that is not its own", node, got.ID, role)
	case r.held != nil && r.deleted == o.deleted[role] && got.Version < r.held.Version:
		o.l.broken("the version of role %s fell from %d to %d", role, r.held.Version, got.Version)
	}
	r.deleted = o.deleted[role]
}

// check holds Modal and storage to the invariants.
func (o *oracle) check() {
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	live, expired := o.atModal()
	holders := map[string]string{}
	for _, role := range t.names() {
		cred, there := t.current[role]
		if !there {
			if !o.bare[role] {
				o.l.broken("role %s has no token", role)
			}
			continue
		}
		if o.gaveWay(cred) {
			continue
		}
		if two := holders[cred.ID]; two != "" {
			o.l.broken("roles %s and %s share token %s", two, role, cred.ID)
		}
		holders[cred.ID] = role
		if o.of(cred.ID).excuse == "" && !expired[cred.ID] && !o.l.modals.Accepts(cred.ID, cred.Secret) {
			o.l.broken("the token %s of role %s worked, and Modal refuses it now", cred.ID, role)
		}
	}
	if admin := t.admin; admin.ID != "" {
		if role := holders[admin.ID]; role != "" {
			o.l.broken("the admin token %s is the token of role %s too", admin.ID, role)
		}
		holders[admin.ID] = "config"
		if o.of(admin.ID).excuse == "" && !expired[admin.ID] && !o.l.modals.Accepts(admin.ID, admin.Secret) {
			o.l.broken("the admin token %s worked, and Modal refuses it now", admin.ID)
		}
	}
	for _, u := range o.l.modals.ServiceUsers() {
		if o.moved[u.TokenID] && expired[u.TokenID] {
			continue // no admin token could look whether it is still there, and storage does not know that its token expired
		}
		if strings.HasPrefix(u.Name, prefix) && !o.strangers[u.Name] && !t.answersFor(u.Name, u.TokenID) {
			o.l.broken("nobody answers for service user %s", u.Name)
		}
	}
	for _, id := range slices.Sorted(maps.Keys(o.tokens)) {
		told := o.tokens[id]
		if !told.kept || holders[id] != "" {
			continue
		}
		if live[id] && !told.forgotten && !t.inLedger(id) {
			o.l.broken("token %s %s lives, is no longer current, and is not in the ledger", id, ofRole(told.role))
		}
		if !live[id] && o.mustBeHeld(told) {
			o.l.broken("token %s of role %s was used at %s, and is ended before its hold's end %s", id, told.role, told.used, told.hold)
		}
		if told.lease && expired[id] && o.l.doubt() == 0 && told.promised(time.Now()) {
			o.l.broken("token %s of a lease of role %s expired before the lease's end %s", id, told.role, told.until)
		}
		if !live[id] && !expired[id] && told.promised(time.Now().Add(o.l.doubt())) {
			o.l.broken("token %s %s was promised until %s", id, ofRole(told.role), told.until.Format(time.DateTime))
		}
	}
	for _, role := range slices.Sorted(maps.Keys(o.l.readers)) {
		held := o.l.readers[role].held
		if held == nil || o.l.modals.Accepts(held.ID, held.Secret) || expired[held.ID] || holders[held.ID] != "" {
			continue
		}
		if told := o.of(held.ID); told.excuse == "" && !told.free && !time.Now().Add(o.l.doubt()).After(told.until) {
			o.l.broken("the reader of role %s holds token %s, and Modal refuses it", role, held.ID)
		}
	}
	o.checkSpared()
	o.checkRights(t)
	o.checkCalls()
	o.checkTheirs(live, expired)
}

// restored begins anew from an old storage: what was promised in between was undone with it.
func (o *oracle) restored() {
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	live, _ := o.atModal()
	for id, told := range o.tokens {
		told.until, told.free, told.role, told.kept, told.forPeople = time.Time{}, true, "", false, false
		told.used, told.lease = time.Time{}, false
		if !live[id] && told.excuse == "" {
			told.excuse = "it was gone when an old storage came back"
		}
	}
	for role, cred := range t.current {
		told := o.of(cred.ID)
		told.role, told.secret, told.free, told.kept = role, cred.Secret, false, true
	}
	o.adminOf = t.remembered
	if t.admin.ID != "" {
		told := o.of(t.admin.ID)
		told.free, told.kept = false, true
		if !t.admin.Verified.IsZero() {
			o.adminOf = t.admin.Workspace
		}
	}
	clear(o.squatted)
	holders := map[string]bool{t.admin.ID: true}
	for _, cred := range t.current {
		if !cred.Verified.IsZero() {
			holders[cred.ID] = true
		}
	}
	for _, cred := range t.current {
		o.squatted[cred.ID] = o.squatted[cred.ID] || cred.Verified.IsZero() && holders[cred.ID]
	}
	clear(o.bare)
	for role, policy := range t.roles {
		o.bare[role] = policy.Managed == nil && t.current[role].ID == ""
	}
	for _, entry := range t.ledger {
		if entry.ID != "" {
			told := o.of(entry.ID)
			told.kept, told.forPeople, told.forced = true, entry.Method == "manual", told.forced || entry.Forced
		}
	}
	for _, u := range o.l.modals.ServiceUsers() {
		if !t.answersFor(u.Name, u.TokenID) {
			o.strangers[u.Name] = true
		}
	}
	clear(o.l.readers)
	clear(o.accepts)
	for _, name := range t.accepted {
		o.accepts[name] = true
	}
	clear(o.spared)
	o.fenced = true
	for _, k := range o.l.vault.running(time.Now()) {
		if live[k.ID] && t.inLedger(k.ID) {
			told := o.of(k.ID)
			told.role, told.secret, told.free, told.lease, told.until = k.Role, k.Secret, told.forced, true, k.ends.Add(-clockGrain)
		}
	}
}

// mayBeFenced says that nobody has said yet what becomes of orphans.
func (o *oracle) mayBeFenced() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.fenced || len(o.orphansOf(o.l.disk.truth())) > 0
}
