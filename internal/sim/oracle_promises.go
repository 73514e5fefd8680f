// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// told is what was promised of a token.
type tokenRecord struct {
	secret string
	// role handed it out.
	role string
	// until is when it may end, after it was replaced.
	promisedUntil time.Time
	// free: an operator said that it may end, or nobody promised anything.
	mayEnd bool
	// excuse is why it may be refused at any time.
	excuse    string
	forgotten bool
	// kept: the engine has it, and answers for it until Modal refuses it.
	tracked bool
	// forPeople: the engine leaves its end to people, unless one of them said force.
	manual, forced bool
	// toggled: somebody disabled it, so that a refusal need not last.
	wasToggled bool
	// anybodys: an operator brought it where it may be of anybody.
	anyOwner bool
	// lease: it is one of a dynamic role, that had been deleted so many times.
	isLease       bool
	roleDeletions int
	// hold is how long it may live on while it is used, and used when it was, after it was replaced.
	extendedUntil, lastUsed time.Time
	useWindow               time.Duration
}

// promised says that nothing may end the token yet.
func (t *tokenRecord) isPromised(now time.Time) bool {
	return t.excuse == "" && !t.mayEnd && now.Before(t.promisedUntil)
}

// of expects o.mu.
func (o *oracle) record(id string) *tokenRecord {
	if o.tokens[id] == nil {
		o.tokens[id] = &tokenRecord{}
	}
	return o.tokens[id]
}

func (o *oracle) excuseToken(id, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.record(id).excuse = why
}

// void takes a promise back, as an operator may.
func (o *oracle) withdrawPromise(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.record(id).mayEnd, o.record(id).forced = true, true
	for _, revocation := range o.run.disk.truth().revocations {
		if revocation.key == id && revocation.ID != "" { // a lease's
			o.record(revocation.ID).mayEnd, o.record(revocation.ID).forced = true, true
		}
	}
}

// excuseUser notes that somebody deleted the service user of a token.
func (o *oracle) excuseServiceUser(tokenID string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if user, found := o.serviceUserOf(tokenID); found {
		o.excusedUsers[user.Name] = true
	}
}

// voidAll takes back what was promised of a role's tokens, earlier versions too.
func (o *oracle) withdrawPromises(role string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forceDeleted[role] = time.Now()
	for _, record := range o.tokens {
		record.mayEnd = record.mayEnd || record.role == role
	}
	for id, flow := range o.flows {
		if record := o.record(id); o.requests[flow].role == role && record.role == "" { // it never came into use
			record.mayEnd, record.forced = true, true
		}
	}
}

func (o *oracle) allowForget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forgettable[id] = true
}

// named is a promise that an answer made.
func (o *oracle) promiseStated(id string, until time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if record := o.record(id); until.After(record.promisedUntil) {
		record.promisedUntil = until
	}
}

// known is a token that some role handed out, nil without one, and whether a mount made it.
func (o *oracle) anyKnownToken(which int) (token *Token, made bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var tokens []*Token
	for _, id := range slices.Sorted(maps.Keys(o.tokens)) {
		if o.tokens[id].secret != "" {
			tokens = append(tokens, &Token{id, o.tokens[id].secret})
		}
	}
	if len(tokens) == 0 {
		return nil, false
	}
	token = tokens[which%len(tokens)]
	user, found := o.serviceUserOf(token.ID)
	return token, found && strings.HasPrefix(user.Name, "vault-")
}
