// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"strings"
	"time"
)

// stored checks each write of storage at the moment when it takes effect.
func (o *oracle) stored(key string, before, after []byte) {
	kind, name, _ := strings.Cut(key, "/")
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch kind {
	case "cred":
		o.credWritten(t, name, decode[storedToken](before), decode[storedToken](after), after != nil)
	case "role":
		o.checkFields("role "+name, before, after, o.fieldsOfRoleWrites(name))
		o.roleWritten(t, name, decode[storedRole](before), before != nil, after != nil)
	case "approval":
		o.approvalWritten(t, name, decode[storedApproval](before), decode[storedApproval](after), after != nil)
	case "orphans":
		o.orphansWritten(t, readTruth(map[string][]byte{"orphans": before}).outOfSync)
	case "config":
		o.checkFields("config", before, after, o.fieldsOfConfigWrites())
		o.configWritten(before, after)
	case "revocation":
		revocation := decode[storedRevocation](before)
		if after == nil {
			revocation.key = name
			o.run.logf("    delete revocation/%s", name)
			o.checkRemoved(t, revocation)
			return
		}
		revocation = decode[storedRevocation](after)
		if before == nil {
			o.checkMaxLeases(t, revocation)
			o.checkSettledFirst(t, revocation)
		} else if was := decode[storedRevocation](before); was.isActiveLease() && excessRight(was.Rights.Roles, revocation.Rights.Roles) != "" {
			o.run.report.count("a lease is narrowed")
		}
		if revocation.Reason == "approved" && before == nil {
			o.approvedTokenQueued(t, revocation.ID)
		}
		o.run.logf("    put revocation/%s: %s %s, %s, %s", name, revocation.Reason, ofRole(revocation.Role), revocation.Method, revocation.describe(name))
	}
}

// credWritten checks a change of a role's token.
func (o *oracle) credWritten(t *truth, role string, before, after storedToken, there bool) {
	if !there {
		o.run.logf("    delete cred/%s", role)
		return
	}
	if before.ID == after.ID {
		return
	}
	if revocation, waits := t.revocationOfToken(after.ID); waits && revocation.Leased && !after.Verified.IsZero() {
		o.run.broken("role %s accepted token %s, which belongs to a lease", role, after.ID)
	}
	delete(o.withoutToken, role)
	o.record(before.ID).replacedAt = time.Now()
	o.run.logf("    put cred/%s: %s, version %d%s", role, after.ID, after.Version, after.expiry())
	record := o.record(after.ID)
	switch {
	case record.excuse != "":
	case after.Verified.IsZero() && after.IdentityType == "": // an operator supplied the token with verify=false
		if !o.run.modals.Accepts(after.ID, after.Secret) {
			record.excuse = "it was stored unverified"
		}
	case !o.run.modals.Accepts(after.ID, after.Secret):
		o.run.broken("role %s accepted token %s, which Modal rejects", role, after.ID)
	}
	if policy, exists := t.roles[role]; exists {
		o.checkRoleRights(t, role, after)
		if policy.Managed == nil {
			o.checkOwner(role, before, after)
		}
		o.checkWindow(role, policy, before)
		o.markDisplaced(t, role, after)
		o.markCurrent(role, after)
		if before.ID != "" && !o.isDisplaced(before) {
			o.markReplaced(role, before, policy, o.graceAfter(after.ID, policy.Grace))
			o.record(before.ID).manual = policy.Managed == nil && (policy.Keeps || before.Verified.IsZero())
		}
	}
}

// roleWritten checks that a role appears with its token, changes or disappears.
func (o *oracle) roleWritten(t *truth, role string, before storedRole, was, is bool) {
	o.lastRoleWrite[role] = time.Now()
	switch {
	case is && !was:
		o.run.logf("    put role/%s", role)
		if o.withoutToken[role] = t.current[role].ID == ""; !o.withoutToken[role] {
			o.checkRoleRights(t, role, t.current[role])
			o.markDisplaced(t, role, t.current[role])
			o.markCurrent(role, t.current[role])
		}
	case was && !is:
		o.run.logf("    delete role/%s", role)
		o.deleted[role]++
		if token := t.withoutRole[role]; token.ID != "" && !o.isDisplaced(token) {
			o.markReplaced(role, token, before, before.Grace)
			o.record(token.ID).mayEnd = o.record(token.ID).mayEnd || !o.run.spec.DeleteKeepsGrace
			o.record(token.ID).manual = before.Managed == nil
		}
	}
}

// markDisplaced records that a verified token displaces the same token that other roles store unverified.
func (o *oracle) markDisplaced(t *truth, by string, token storedToken) {
	for _, role := range t.names() {
		if current := t.current[role]; role != by && current.ID == token.ID && current.Verified.IsZero() && !token.Verified.IsZero() {
			o.displaced[token.ID] = true
			o.run.report.count("a verified token displaces an unverified one")
		}
	}
}

// isDisplaced reports whether a role stored a token unverified that another role or config has verified.
func (o *oracle) isDisplaced(t storedToken) bool { return o.displaced[t.ID] && t.Verified.IsZero() }

// markCurrent records the token that a role's readers get from now on.
func (o *oracle) markCurrent(role string, t storedToken) {
	record := o.record(t.ID)
	record.role, record.secret, record.promisedUntil, record.mayEnd, record.forgotten = role, t.Secret, time.Time{}, false, false
	record.tracked, record.manual, record.forced = true, false, false
	record.extendedUntil, record.lastUsed, record.isLease = time.Time{}, time.Time{}, false
}

// markReplaced sets how long a token that was just replaced must work.
func (o *oracle) markReplaced(role string, token storedToken, policy storedRole, grace time.Duration) {
	record := o.record(token.ID)
	whose := "the grace period"
	for _, op := range o.run.running() {
		if op.role == role && op.grace != nil && *op.grace < grace {
			grace, whose = *op.grace, fmt.Sprintf("the grace period in #%d", op.number)
		}
		record.mayEnd = record.mayEnd || (op.role == role && op.what == "delete role" && op.force) || (op.target == token.ID && op.force)
	}
	record.promise(time.Now().Add(grace-clockGrain), fmt.Sprintf("it was replaced at %s, and %s is %s", time.Now().Format(time.DateTime), whose, grace))
	if !token.Expires.IsZero() && token.Expires.Before(record.promisedUntil) {
		record.promise(token.Expires, "it expires then, before its grace period is over")
	}
	if policy.Managed != nil && policy.Managed.Hold > 0 {
		record.extendedUntil, record.lastUsed, record.useWindow = record.promisedUntil.Add(policy.Managed.Hold), time.Time{}, 2*policy.Refresh
		if !token.Expires.IsZero() && token.Expires.Before(record.extendedUntil) {
			record.extendedUntil = token.Expires
		}
	}
}

// checkRemoved checks that a revocation was removed for a valid reason: Modal rejects the token, the token is
// current after all, or an operator removed it.
func (o *oracle) checkRemoved(t *truth, revocation storedRevocation) {
	for _, id := range []string{revocation.ID, revocation.Identity, revocation.key} {
		if id != "" && o.forgettable[id] {
			if revocation.ID != "" {
				o.record(revocation.ID).forgotten = true
			}
			o.untracked[revocation.Identity] = true
			o.acceptedOrphans[revocation.Identity] = true
			return
		}
	}
	if t.tracks(revocation.Identity, revocation.ID) || t.inQueue(revocation.ID) || t.isCurrent(revocation.ID) {
		return
	}
	if revocation.ID != "" && o.record(revocation.ID).wasToggled {
		o.record(revocation.ID).forgotten = true // Modal rejected the token only while it was disabled
		return
	}
	if o.stillAtModal(revocation.storedToken) {
		o.run.broken("the revocation %s %s was removed, but Modal still accepts the token", revocation.key, ofRole(revocation.Role))
	}
}
