// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// tokenRecord holds the expectations for one token.
type tokenRecord struct {
	secret string
	// role is the role that returned the token.
	role string
	// promisedUntil is the time until which a replaced token must work.
	promisedUntil time.Time
	// replacedAt is when the role got another token.
	replacedAt time.Time
	// because says why the token must work until then.
	because string
	// mayEnd: an operator allowed the token's end, or nobody promised anything.
	mayEnd bool
	// excuse is a reason why Modal may reject the token at any time.
	excuse    string
	forgotten bool
	// tracked: the engine knows the token and must track it until Modal rejects it.
	tracked bool
	// manual: an operator must revoke the token. forced: an operator said force.
	manual, forced bool
	// wasToggled: somebody disabled the token, so a rejection need not be permanent.
	wasToggled bool
	// anyOwner: an operator supplied the token with force, so it may have any owner.
	anyOwner bool
	// isLease: the token belongs to a lease. roleDeletions is how often the role had been deleted before.
	isLease       bool
	roleDeletions int
	// extendedUntil is the time until which use extends a replaced token's life. lastUsed is its last use after the
	// replacement. A use counts for useWindow.
	extendedUntil, lastUsed time.Time
	useWindow               time.Duration
}

// isPromised reports whether the token must still work.
func (t *tokenRecord) isPromised(now time.Time) bool {
	return t.excuse == "" && !t.mayEnd && now.Before(t.promisedUntil)
}

// promise records until when the token must work, and why.
func (t *tokenRecord) promise(until time.Time, because string) {
	t.promisedUntil, t.because = until, because
}

// expectation says until when the token must work, and why.
func (t *tokenRecord) expectation() string {
	return fmt.Sprintf("should work until %s, because %s", t.promisedUntil.Format(time.DateTime), t.because)
}

// record returns the record of a token. The caller holds o.mu.
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

// withdrawPromise withdraws the promise of a token, as an operator's force does.
func (o *oracle) withdrawPromise(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.record(id).mayEnd, o.record(id).forced = true, true
	for _, revocation := range o.run.disk.truth().revocations {
		if revocation.key == id && revocation.ID != "" { // the revocation of a lease has the service user's name as its key
			o.record(revocation.ID).mayEnd, o.record(revocation.ID).forced = true, true
		}
	}
}

// excuseServiceUser records that somebody deleted the service user of a token.
func (o *oracle) excuseServiceUser(tokenID string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if user, found := o.serviceUserOf(tokenID); found {
		o.excusedUsers[user.Name] = true
	}
}

// withdrawPromises withdraws the promises of all tokens of a role, including earlier versions.
func (o *oracle) withdrawPromises(role string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forceDeleted[role] = time.Now()
	for _, record := range o.tokens {
		record.mayEnd = record.mayEnd || record.role == role
	}
	for id, flow := range o.flows {
		if record := o.record(id); o.requests[flow].role == role && record.role == "" { // the token never became current
			record.mayEnd, record.forced = true, true
		}
	}
}

func (o *oracle) allowForget(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.forgettable[id] = true
}

// promiseStated records a promise that an answer made.
func (o *oracle) promiseStated(id string, until time.Time, op *operation) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if record := o.record(id); until.After(record.promisedUntil) {
		record.promise(until, fmt.Sprintf("the answer to #%d (%s) said so", op.number, op.title()))
	}
}

// anyKnownToken returns a token that some role returned, or nil. made reports whether a mount created its service
// user.
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
