// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"strings"
	"time"
)

// wrote sees every write of storage in the moment it takes effect.
func (o *oracle) wrote(key string, before, after []byte) {
	kind, name, _ := strings.Cut(key, "/")
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	switch kind {
	case "cred":
		o.wroteToken(t, name, decode[storedToken](before), decode[storedToken](after), after != nil)
	case "role":
		o.wroteRole(t, name, decode[storedRole](before), before != nil, after != nil)
	case "approval":
		o.wroteApproval(t, name, decode[storedApproval](before), decode[storedApproval](after), after != nil)
	case "config":
		o.wroteConfig(before, after)
	case "revocation":
		entry := decode[storedEntry](before)
		if after == nil {
			entry.key = name
			o.l.note("    delete revocation/%s", name)
			o.left(t, entry)
			return
		}
		entry = decode[storedEntry](after)
		if before == nil {
			o.counts(t, entry)
			o.begins(t, entry)
		} else if was := decode[storedEntry](before); was.isRunning() && beyond(was.Rights.Roles, entry.Rights.Roles) != "" {
			o.l.report.seen("a lease is narrowed")
		}
		if entry.Reason == "approved" && before == nil {
			o.tookIn(t, entry.ID)
		}
		o.l.note("    put revocation/%s: %s %s, %s, not before %s", name, entry.Reason, ofRole(entry.Role), entry.Method, entry.NotBefore.Format(time.DateTime))
	}
}

// wroteToken sees a role get a token, keep it or lose it.
func (o *oracle) wroteToken(t *truth, role string, before, after storedToken, there bool) {
	if !there {
		o.l.note("    delete cred/%s", role)
		return
	}
	if before.ID == after.ID {
		return
	}
	if entry, waits := t.waiting(after.ID); waits && entry.Leased && !after.Verified.IsZero() {
		o.l.broken("role %s took token %s, which is a lease's", role, after.ID)
	}
	delete(o.bare, role)
	o.l.note("    put cred/%s: %s, version %d", role, after.ID, after.Version)
	current := o.of(after.ID)
	switch {
	case current.excuse != "":
	case after.Verified.IsZero() && after.IdentityType == "": // an operator brought it and said verify=false
		if !o.l.modals.Accepts(after.ID, after.Secret) {
			current.excuse = "it was stored unproven"
		}
	case !o.l.modals.Accepts(after.ID, after.Secret):
		o.l.broken("role %s took token %s, which Modal does not accept", role, after.ID)
	}
	if policy, exists := t.roles[role]; exists {
		o.fits(t, role, after)
		if policy.Managed == nil {
			o.pinned(role, before, after)
		}
		o.taken(t, role, after)
		o.handsOut(role, after)
		if before.ID != "" && !o.gaveWay(before) {
			o.released(role, before, policy, o.graceOf(after.ID, policy.Grace))
			o.of(before.ID).forPeople = policy.Managed == nil && (policy.Keeps || before.Verified.IsZero())
		}
	}
}

// wroteRole sees a role appear with its token, change or go.
func (o *oracle) wroteRole(t *truth, role string, before storedRole, was, is bool) {
	o.limited[role] = time.Now()
	switch {
	case is && !was:
		o.l.note("    put role/%s", role)
		if o.bare[role] = t.current[role].ID == ""; !o.bare[role] {
			o.fits(t, role, t.current[role])
			o.taken(t, role, t.current[role])
			o.handsOut(role, t.current[role])
		}
	case was && !is:
		o.l.note("    delete role/%s", role)
		o.deleted[role]++
		if token := t.left[role]; token.ID != "" && !o.gaveWay(token) {
			o.released(role, token, before, before.Grace)
			o.of(token.ID).free = o.of(token.ID).free || !o.l.spec.DeleteKeepsGrace
			o.of(token.ID).forPeople = before.Managed == nil
		}
	}
}

// taken notes that a verified token took its ID from roles that hold it unverified.
func (o *oracle) taken(t *truth, by string, token storedToken) {
	for _, role := range t.names() {
		if held := t.current[role]; role != by && held.ID == token.ID && held.Verified.IsZero() && !token.Verified.IsZero() {
			o.squatted[token.ID] = true
			o.l.report.seen("a verified token takes its ID from a role")
		}
	}
}

// gaveWay says that a role held a token unverified which another one, or config, has verified.
func (o *oracle) gaveWay(t storedToken) bool { return o.squatted[t.ID] && t.Verified.IsZero() }

// handsOut notes the token that a role's readers get from now on.
func (o *oracle) handsOut(role string, t storedToken) {
	current := o.of(t.ID)
	current.role, current.secret, current.until, current.free, current.forgotten = role, t.Secret, time.Time{}, false, false
	current.kept, current.forPeople, current.forced = true, false, false
	current.hold, current.used, current.lease = time.Time{}, time.Time{}, false
}

// released dates the promise of a token that was replaced just now.
func (o *oracle) released(role string, token storedToken, policy storedRole, grace time.Duration) {
	old := o.of(token.ID)
	for _, op := range o.l.running() {
		if op.role == role && op.grace != nil {
			grace = min(grace, *op.grace)
		}
		old.free = old.free || (op.role == role && op.what == "delete role" && op.force) || (op.target == token.ID && op.force)
	}
	old.until = time.Now().Add(grace - clockGrain)
	if !token.Expires.IsZero() && token.Expires.Before(old.until) {
		old.until = token.Expires // Modal ends it then
	}
	if policy.Managed != nil && policy.Managed.Hold > 0 {
		old.hold, old.used, old.refresh = old.until.Add(policy.Managed.Hold), time.Time{}, 2*policy.Refresh
		if !token.Expires.IsZero() && token.Expires.Before(old.hold) {
			old.hold = token.Expires
		}
	}
}

// left sees an entry leave the ledger. Only a refusal lets it, or that the token is current after all, or
// an operator's word.
func (o *oracle) left(t *truth, entry storedEntry) {
	for _, id := range []string{entry.ID, entry.Identity, entry.key} {
		if id != "" && o.forgettable[id] {
			if entry.ID != "" {
				o.of(entry.ID).forgotten = true
			}
			o.strangers[entry.Identity] = true
			o.accepts[entry.Identity] = true
			return
		}
	}
	if t.answersFor(entry.Identity, entry.ID) || t.inLedger(entry.ID) || t.inUse(entry.ID) {
		return
	}
	if entry.ID != "" && o.of(entry.ID).toggled {
		o.of(entry.ID).forgotten = true // it was refused for a while
		return
	}
	if o.accepted(entry.storedToken) {
		o.l.broken("the entry %s %s left the ledger, and Modal still accepts the token", entry.key, ofRole(entry.Role))
	}
}
