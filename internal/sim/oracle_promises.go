// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"strings"
	"time"
)

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
	// lease: it is one of a dynamic role, that had been deleted so many times.
	lease   bool
	deleted int
	// hold is how long it may live on while it is used, and used when it was, after it was replaced.
	hold, used time.Time
	refresh    time.Duration
}

// promised says that nothing may end the token yet.
func (t *told) promised(now time.Time) bool {
	return t.excuse == "" && !t.free && now.Before(t.until)
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

// void takes a promise back, as an operator may.
func (o *oracle) void(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of(id).free, o.of(id).forced = true, true
	for _, entry := range o.l.disk.truth().ledger {
		if entry.key == id && entry.ID != "" { // a lease's
			o.of(entry.ID).free, o.of(entry.ID).forced = true, true
		}
	}
}

// excuseUser notes that somebody deleted the service user of a token.
func (o *oracle) excuseUser(tokenID string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if user, found := o.serviceUser(tokenID); found {
		o.excusedUsers[user.Name] = true
	}
}

// voidAll takes back what was promised of a role's tokens, earlier versions too.
func (o *oracle) voidAll(role string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.voided[role] = time.Now()
	for _, told := range o.tokens {
		told.free = told.free || told.role == role
	}
	for id, flow := range o.approved {
		if told := o.of(id); o.asked[flow].role == role && told.role == "" { // it never came into use
			told.free, told.forced = true, true
		}
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
