// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"time"
)

// leased notes what a lease promises, and judges what it gave. before is what storage held when the read
// began, nil where something else went on.
func (o *oracle) leased(k *kept, before *truth, began time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	told := o.of(k.ID)
	told.role, told.secret, told.kept, told.lease = k.Role, k.Secret, true, true
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

// renewed notes what a renewed lease promises.
func (o *oracle) renewed(k *kept) {
	o.mu.Lock()
	defer o.mu.Unlock()
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
