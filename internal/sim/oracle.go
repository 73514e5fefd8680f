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
	// asked is what a flow was begun for, by its ID, and approved are the tokens of flows.
	asked    map[string]asked
	approved map[string]string
	// bare are the static roles that have had no token yet.
	bare map[string]bool
	// lowered is when the ceilings of config last changed.
	lowered time.Time
}

// told is what was promised of a token.
type told struct {
	secret string
	// role handed it out.
	role string
	// until is when it may end, after it was replaced.
	until time.Time
	// free: an operator said that it may end, or nobody promised anything.
	free bool
	// excuse is why it may be refused at any time.
	excuse    string
	forgotten bool
	// kept: the engine has it, and answers for it until Modal refuses it.
	kept bool
	// forPeople: the engine leaves its end to people, unless one of them said force.
	forPeople, forced bool
	// toggled: somebody disabled it, so that a refusal need not last.
	toggled bool
	// anybodys: an operator brought it where it may be of anybody.
	anybodys bool
}

func newOracle(l *Life) *oracle {
	return &oracle{l: l, tokens: map[string]*told{}, strangers: map[string]bool{}, forgettable: map[string]bool{}, deleted: map[string]int{}, whose: map[string]whose{}, brought: map[string]bool{}, looked: map[*modaltest.Server]int{}, theirs: map[string]bool{}, drifted: map[string]bool{}, asked: map[string]asked{}, approved: map[string]string{}, bare: map[string]bool{}}
}

// of expects o.mu.
func (o *oracle) of(id string) *told {
	if o.tokens[id] == nil {
		o.tokens[id] = &told{}
	}
	return o.tokens[id]
}

func (o *oracle) excuse(id, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of(id).excuse = why
}

func (o *oracle) excused(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.of(id).excuse != ""
}

// void takes a promise back, as an operator may.
func (o *oracle) void(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of(id).free, o.of(id).forced = true, true
}

// voidAll takes back what was promised of a role's tokens, earlier versions too.
func (o *oracle) voidAll(role string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, told := range o.tokens {
		told.free = told.free || told.role == role
	}
}

func (o *oracle) mayForget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forgettable[id] = true
}

// named is a promise that an answer made.
func (o *oracle) named(id string, until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if told := o.of(id); until.After(told.until) {
		told.until = until
	}
}

// known is a token that some role handed out, nil without one, and whether a mount made it.
func (o *oracle) known(which int) (pair *Pair, made bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var pairs []*Pair
	for _, id := range slices.Sorted(maps.Keys(o.tokens)) {
		if o.tokens[id].secret != "" {
			pairs = append(pairs, &Pair{id, o.tokens[id].secret})
		}
	}
	if len(pairs) == 0 {
		return nil, false
	}
	pair = pairs[which%len(pairs)]
	user, found := o.serviceUser(pair.ID)
	return pair, found && strings.HasPrefix(user.Name, "vault-")
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
			o.l.broken("token %s of role %s lives, is no longer current, and is not in the ledger", id, told.role)
		}
		if !live[id] && !expired[id] && told.promised(time.Now().Add(o.l.doubt())) {
			o.l.broken("token %s of role %s was promised until %s", id, told.role, told.until.Format(time.DateTime))
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
	o.checkCalls()
	o.checkTheirs(live, expired)
}

// promised says that nothing may end the token yet.
func (t *told) promised(now time.Time) bool {
	return t.excuse == "" && !t.free && now.Before(t.until)
}

// restored begins anew from an old storage: what was promised in between was undone with it.
func (o *oracle) restored() {
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	live, _ := o.atModal()
	for id, told := range o.tokens {
		told.until, told.free, told.role, told.kept, told.forPeople = time.Time{}, true, "", false, false
		if !live[id] && told.excuse == "" {
			told.excuse = "it was gone when an old storage came back"
		}
	}
	for role, cred := range t.current {
		told := o.of(cred.ID)
		told.role, told.secret, told.free, told.kept = role, cred.Secret, false, true
	}
	if t.admin.ID != "" {
		told := o.of(t.admin.ID)
		told.free, told.kept = false, true
	}
	clear(o.bare)
	for role, policy := range t.roles {
		o.bare[role] = policy.Type == "static" && t.current[role].ID == ""
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
}
