// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// verified judges what verify answered of a role's current token.
func (o *oracle) checkVerify(op *operation, v Verification) {
	t := o.run.disk.truth()
	if !o.run.ranAlone(op) || o.run.conditions.LateToLearn {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	current := t.current[op.role]
	_, expired := o.tokensAtModal()
	o.run.report.count("verify answers " + map[bool]string{true: "accepted", false: "refused"}[v.Accepted])
	if v.RolesDiffer {
		o.run.report.count("verify answers drifted")
	}
	// An unproven token may be another server's than the one that it was brought to.
	if accepts := o.run.modals.AcceptsAt(cmp.Or(current.Server, t.server), current.ID, current.Secret); accepts != v.Accepted && !expired[current.ID] {
		o.run.broken("Modal is said to accept token %s of role %s: %t, and does: %t", current.ID, op.role, v.Accepted, accepts)
	}
}

// use has those who go on with earlier tokens use them, and notes which must live on for that.
func (run *Run) useStillUsed() {
	if len(run.stillUsed) == 0 {
		return
	}
	t := run.disk.truth()
	for _, id := range slices.Sorted(maps.Keys(run.stillUsed)) {
		if !run.modals.Use(id, run.stillUsed[id]) {
			delete(run.stillUsed, id)
			continue
		}
		i := slices.IndexFunc(t.revocations, func(rev storedRevocation) bool { return rev.ID == id })
		if i >= 0 && !t.revocations[i].DeletionStarted && !t.revocations[i].Forced && len(run.running()) == 0 {
			run.oracle.tokenUsed(id)
		}
	}
}

func (o *oracle) tokenUsed(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	record := o.record(id)
	if time.Now().After(record.promisedUntil.Add(time.Minute)) && time.Now().Before(record.extendedUntil) && record.excuse == "" && !record.mayEnd {
		o.run.report.count("a previous token is held while it is used")
	}
	record.lastUsed = time.Now()
}

// mustBeHeld says that a token was used just now, and its role holds such.
func (o *oracle) mustBeExtended(record *tokenRecord) bool {
	return o.run.clockSpread() == 0 && record.excuse == "" && !record.mayEnd && !record.lastUsed.IsZero() &&
		time.Since(record.lastUsed) < record.useWindow && time.Now().Before(record.extendedUntil.Add(-clockGrain))
}

// ailing are the managed roles whose token Modal refuses, or whose service user may do something else than
// the role says.
func (o *oracle) unhealthyRoles() []string {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	var unhealthy []string
	for _, role := range t.names() {
		policy, cred := t.roles[role].Managed, t.current[role]
		if policy == nil || cred.ID == "" || o.run.isElsewhere(cred) {
			continue
		}
		user, found := o.serviceUserOf(cred.ID)
		switch {
		case !o.run.modals.Accepts(cred.ID, cred.Secret):
			if !policy.Disabled {
				unhealthy = append(unhealthy, role+" (refused)")
			}
		case found && !maps.Equal(effectiveRoles(user), policy.Roles):
			unhealthy = append(unhealthy, role+" (drifted)")
		}
	}
	return unhealthy
}

func (o *oracle) expiryChangedByHand(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expiryChanged[id] = true
}

// checkExpiries expects storage to have the expiry that Modal tells, of each token that was verified for days.
func (o *oracle) checkExpiries() {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	at := map[string]time.Time{}
	for _, token := range o.run.modal.Tokens() {
		at[token.ID] = token.Expires
	}
	stored := map[string]storedToken{"config": t.admin}
	for _, role := range t.names() {
		stored["role "+role] = t.current[role]
	}
	for _, of := range slices.Sorted(maps.Keys(stored)) {
		token := stored[of]
		expires, found := at[token.ID]
		if !found || !o.run.modals.AcceptsAt(token.Server, token.ID, token.Secret) {
			continue
		}
		if o.expiryChanged[token.ID] {
			o.run.report.count("an expiry that somebody changed is learned")
		}
		if !expires.Truncate(time.Second).Equal(token.Expires) {
			o.run.broken("token %s of %s expires at %s, and storage says %s", token.ID, of, expires.Format(time.DateTime), token.Expires.Format(time.DateTime))
		}
	}
}
