// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// verified judges what verify answered of a role's current token.
func (o *oracle) verified(op *operation, v Verification) {
	t := o.l.disk.truth()
	if !o.l.isAlone(op) || o.l.climate.LateToLearn {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	current := t.current[op.role]
	_, expired := o.atModal()
	o.l.report.seen("verify answers " + map[bool]string{true: "accepted", false: "refused"}[v.Accepted])
	if v.Drifted {
		o.l.report.seen("verify answers drifted")
	}
	// An unproven token may be another server's than the one that it was brought to.
	if accepts := o.l.modals.AcceptsAt(cmp.Or(current.Server, t.server), current.ID, current.Secret); accepts != v.Accepted && !expired[current.ID] {
		o.l.broken("Modal is said to accept token %s of role %s: %t, and does: %t", current.ID, op.role, v.Accepted, accepts)
	}
}

// use has those who go on with earlier tokens use them, and notes which must live on for that.
func (l *Life) use() {
	if len(l.goesOn) == 0 {
		return
	}
	t := l.disk.truth()
	for _, id := range slices.Sorted(maps.Keys(l.goesOn)) {
		if !l.modals.Use(id, l.goesOn[id]) {
			delete(l.goesOn, id)
			continue
		}
		i := slices.IndexFunc(t.ledger, func(e storedEntry) bool { return e.ID == id })
		if i >= 0 && !t.ledger[i].Begun && !t.ledger[i].Forced && len(l.running()) == 0 {
			l.oracle.used(id)
		}
	}
}

func (o *oracle) used(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	told := o.of(id)
	if time.Now().After(told.until.Add(time.Minute)) && time.Now().Before(told.hold) && told.excuse == "" && !told.free {
		o.l.report.seen("a previous token is held while it is used")
	}
	told.used = time.Now()
}

// mustBeHeld says that a token was used just now, and its role holds such.
func (o *oracle) mustBeHeld(told *told) bool {
	return o.l.doubt() == 0 && told.excuse == "" && !told.free && !told.used.IsZero() &&
		time.Since(told.used) < told.refresh && time.Now().Before(told.hold.Add(-clockGrain))
}

// ailing are the managed roles whose token Modal refuses, or whose service user may do something else than
// the role says.
func (o *oracle) ailing() []string {
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	var ill []string
	for _, role := range t.names() {
		policy, cred := t.roles[role].Managed, t.current[role]
		if policy == nil || cred.ID == "" || o.l.isAway(cred) {
			continue
		}
		user, found := o.serviceUser(cred.ID)
		switch {
		case !o.l.modals.Accepts(cred.ID, cred.Secret):
			if !policy.Disabled {
				ill = append(ill, role+" (refused)")
			}
		case found && !maps.Equal(rights(user), policy.Roles):
			ill = append(ill, role+" (drifted)")
		}
	}
	return ill
}

func (o *oracle) movedExpiry(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.moved[id] = true
}

// checkExpiries expects storage to have the expiry that Modal tells, of each token that was verified for days.
func (o *oracle) checkExpiries() {
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	at := map[string]time.Time{}
	for _, token := range o.l.modal.Tokens() {
		at[token.ID] = token.Expires
	}
	stored := map[string]storedToken{"config": t.admin}
	for _, role := range t.names() {
		stored["role "+role] = t.current[role]
	}
	for _, of := range slices.Sorted(maps.Keys(stored)) {
		token := stored[of]
		expires, found := at[token.ID]
		if !found || !o.l.modals.AcceptsAt(token.Server, token.ID, token.Secret) {
			continue
		}
		if o.moved[token.ID] {
			o.l.report.seen("an expiry that somebody changed is learned")
		}
		if !expires.Truncate(time.Second).Equal(token.Expires) {
			o.l.broken("token %s of %s expires at %s, and storage says %s", token.ID, of, expires.Format(time.DateTime), token.Expires.Format(time.DateTime))
		}
	}
}
