// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"cmp"
	"maps"
	"slices"
	"time"
)

// checkVerify judges the answer of a verification.
func (o *oracle) checkVerify(op *operation, v Verification) {
	t := o.run.disk.truth()
	if !o.run.ranAlone(op) || o.run.conditions.LateToLearn {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	current := t.current[op.role]
	_, expired := o.tokensAtModal()
	o.run.report.count("verify answers " + map[bool]string{true: "accepted", false: "rejected"}[v.Accepted])
	if v.RolesDiffer {
		o.run.report.count("verify answers roles_differ")
	}
	// An unverified token may belong to another server than the operator sent it to.
	if accepts := o.run.modals.AcceptsAt(cmp.Or(current.Server, t.server), current.ID, current.Secret); accepts != v.Accepted && !expired[current.ID] {
		o.run.broken("the engine says that Modal accepts token %s of role %s: %t, but Modal says %t", current.ID, op.role, v.Accepted, accepts)
	}
}

// useStillUsed lets consumers use their previous tokens, and records which tokens must live on for that.
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
		o.run.report.count("a used previous token lives longer")
	}
	record.lastUsed = time.Now()
}

// mustBeExtended reports whether a token was used a short time ago, so that its role extends its life.
func (o *oracle) mustBeExtended(record *tokenRecord) bool {
	return o.run.clockSpread() == 0 && record.excuse == "" && !record.mayEnd && !record.lastUsed.IsZero() &&
		time.Since(record.lastUsed) < record.useWindow && time.Now().Before(record.extendedUntil.Add(-clockGrain))
}

// unhealthyRoles returns the managed roles that the engine must repair: Modal rejects the token, or the service
// user has other rights than the role says.
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
				unhealthy = append(unhealthy, role+" (rejected)")
			}
		case found && !maps.Equal(effectiveRoles(user), policy.Roles):
			unhealthy = append(unhealthy, role+" (roles differ)")
		}
	}
	return unhealthy
}

func (o *oracle) expiryChangedByHand(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.expiryChanged[id] = true
}

// hasLaterExpiry reports whether somebody gave a token a later expiry, and the engine moved the next rotation after it
// learned that.
func (o *oracle) hasLaterExpiry(was, is storedToken) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.expiryChanged[was.ID] && is.ID == was.ID && is.Next.After(was.Next)
}

// checkExpiries expects storage to have the expiry that Modal reports for each current token. The engine has
// verified these tokens for days.
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
			o.run.report.count("the engine learns a changed expiry")
		}
		if !expires.Truncate(time.Second).Equal(token.Expires) {
			o.run.broken("token %s of %s expires at %s, but storage says %s", token.ID, of, expires.Format(time.DateTime), token.Expires.Format(time.DateTime))
		}
	}
}
