// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// leased notes what a lease promises, and judges what it gave. before is what storage held when the read
// began, nil where something else went on.
func (o *oracle) leased(k *kept, before *truth, began time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	told := o.of(k.ID)
	told.role, told.secret, told.kept, told.lease, told.deleted = k.Role, k.Secret, true, true, o.deleted[k.Role]
	told.until = k.ends.Add(-clockGrain)
	told.free = told.free || !o.voided[k.Role].Before(began)
	o.l.note("    a lease of role %s until %s: %s", k.Role, k.ends.Format(time.DateTime), k.ID)
	if o.excusedLease(k) {
		return
	}
	if !o.l.modals.Accepts(k.ID, k.Secret) {
		o.l.broken("a lease of role %s gave token %s, which Modal does not accept", k.Role, k.ID)
	}
	o.fitsLease(k, before)
	o.outlives(k)
}

func (o *oracle) excusedLease(k *kept) bool { return o.of(k.ID).free || o.of(k.ID).excuse != "" }

// fitsLease expects a lease's token to be able to do what the role said when it was read, and no more.
func (o *oracle) fitsLease(k *kept, before *truth) {
	user, found := o.serviceUser(k.ID)
	if before == nil || !found || o.drifted[user.Name] {
		return
	}
	policy := before.roles[k.Role].Dynamic
	if policy == nil {
		o.l.broken("role %s gave a lease, and was no dynamic one", k.Role)
		return
	}
	if got := rights(user); !maps.Equal(got, policy.Roles) || user.Scoped != policy.Scoped {
		o.l.broken("a lease of role %s has %v, scoped: %t, and not %v, scoped: %t", k.Role, got, user.Scoped, policy.Roles, policy.Scoped)
	}
	if what := before.exceeds(user.Scoped, user.Roles); what != "" {
		o.l.broken("a lease of role %s can do more than config allows: %s", k.Role, what)
	}
}

// outlives expects a lease's token to expire after the lease.
func (o *oracle) outlives(k *kept) {
	user, found := o.serviceUser(k.ID)
	if found && o.l.doubt() == 0 && !user.Expires.IsZero() && k.ends.Add(-clockGrain).After(user.Expires) {
		o.l.broken("the lease of token %s of role %s runs until %s, and the token until %s", k.ID, k.Role, k.ends, user.Expires)
	}
}

// renewed notes the promise of a renewed lease, and judges its token's rights. before is the storage at the start of
// the renewal, nil if something else went on.
func (o *oracle) renewed(k *kept, before *truth) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.renewedWithin(k, before)
	o.of(k.ID).until = k.ends.Add(-clockGrain)
	o.l.note("    the lease of token %s runs until %s", k.ID, k.ends.Format(time.DateTime))
	if o.l.doubt() == 0 && k.ends.After(k.issued.Add(k.Max+clockGrain)) {
		o.l.broken("the lease of token %s was renewed until %s, past its longest life %s from %s", k.ID, k.ends, k.Max, k.issued)
	}
	if !o.excusedLease(k) {
		o.outlives(k)
	}
}

// leaseEnds takes a lease's promise back, as its end has come.
func (o *oracle) leaseEnds(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.of(id).until = time.Time{}
}

// leaseEnded expects the token of a lease to be refused that was revoked, unless it was brought to a role since.
func (o *oracle) leaseEnded(id string) {
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	told := o.of(id)
	if told.lease && !told.forgotten && !t.inUse(id) && o.l.modals.Accepts(id, told.secret) {
		o.l.broken("the lease of token %s of role %s was revoked, and Modal accepts it", id, told.role)
	}
}

// renewedWithin expects a renewed lease's token to be able to do no more than its role and config allow.
func (o *oracle) renewedWithin(k *kept, before *truth) {
	user, found := o.serviceUser(k.ID)
	if before == nil || !found || o.drifted[user.Name] || o.l.climate.DoneLate {
		return
	}
	if what := before.exceeds(user.Scoped, rights(user)); what != "" {
		o.l.broken("a lease of role %s was renewed, and can do more than config allows: %s", k.Role, what)
	}
	policy := before.roles[k.Role].Dynamic
	if policy == nil || o.of(k.ID).deleted != o.deleted[k.Role] {
		return // its role was deleted
	}
	if what := beyond(rights(user), policy.Roles); what != "" || (policy.Scoped && !user.Scoped) {
		o.l.broken("a lease of role %s was renewed, and has %v, scoped: %t, where the role says %v, scoped: %t", k.Role, rights(user), user.Scoped, policy.Roles, policy.Scoped)
	}
}

// beyond is what of some rights is more than others, empty for nothing.
func beyond(has, most map[string]string) string {
	rank := map[string]int{"viewer": 1, "contributor": 2}
	for _, environment := range slices.Sorted(maps.Keys(has)) {
		if rank[has[environment]] > rank[most[environment]] {
			return has[environment] + " of environment " + environment
		}
	}
	return ""
}

// narrowed expects a write to have narrowed the role's leases, where Modal answered each call and storage kept each
// write.
func (o *oracle) narrowed(t *truth, role string, p Policy, calls []modaltest.Call) {
	policy := t.roles[role].Dynamic
	failed := o.l.storageFails() || t.admin.ID == "" || t.limited
	for _, call := range calls {
		failed = failed || call.Code != codes.OK
	}
	for _, entry := range t.ledger {
		if p.EnvironmentRoles == nil || entry.Role != role || !entry.isRunning() || o.of(entry.ID).deleted != o.deleted[role] {
			continue
		}
		what := beyond(entry.Rights.Roles, policy.Roles)
		switch {
		case what == "":
		case failed || t.admin.Workspace != entry.Workspace || o.l.isAway(entry.storedToken) || t.server != o.l.modal.URL():
			o.l.report.seen("a lease keeps what its role lost")
		default:
			o.l.broken("role %s was written, and the lease of token %s keeps %s", role, entry.ID, what)
		}
	}
}

// checkRights expects each lease's token to be able to do no more than its entry says, by which leases are narrowed
// and renewed.
func (o *oracle) checkRights(t *truth) {
	for _, entry := range t.ledger {
		user, found := o.serviceUser(entry.ID)
		if !found || !entry.isRunning() || o.drifted[user.Name] || o.l.climate.DoneLate {
			continue
		}
		if what := beyond(rights(user), entry.Rights.Roles); what != "" || user.Scoped != entry.Rights.Scoped {
			o.l.broken("the entry of the lease of token %s does not say %s (scoped: %t)", entry.ID, what, user.Scoped)
		}
	}
}

// begins expects no read to begin a service user before those are settled that earlier reads failed to create.
func (o *oracle) begins(t *truth, entry storedEntry) {
	ops := o.l.running()
	if !entry.Leased || len(ops) != 1 || !o.l.isAlone(ops[0]) {
		return // another read may have failed since this one asked
	}
	for _, other := range t.ledger {
		if other.Role == entry.Role && other.Generation == entry.Generation && other.Leased && other.Reason == "unfinished" && other.Identity != entry.Identity &&
			other.NotFound.IsZero() && !other.Acknowledged && !o.l.isAway(other.storedToken) && !o.l.isAway(entry.storedToken) {
			o.l.broken("a read of role %s begins %s before %s is settled", entry.Role, entry.Identity, other.Identity)
		}
	}
}

// counts holds a new lease to the role's limit.
func (o *oracle) counts(t *truth, entry storedEntry) {
	policy := t.roles[entry.Role].Dynamic
	if !entry.Leased || entry.Role == "" || policy == nil || policy.MaxLeases == 0 || (o.l.climate.Overlap && time.Since(o.limited[entry.Role]) < slowest) {
		return
	}
	if count := t.leases(entry.Role); count == policy.MaxLeases {
		o.l.report.seen("a role has max_leases leases")
	} else if count > policy.MaxLeases {
		o.l.broken("role %s has %d leases, and max_leases is %d", entry.Role, count, policy.MaxLeases)
	}
}
