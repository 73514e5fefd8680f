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
func (o *oracle) leaseIssued(k *vaultLease, before *truth, began time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	record := o.record(k.ID)
	record.role, record.secret, record.tracked, record.isLease, record.roleDeletions = k.Role, k.Secret, true, true, o.deleted[k.Role]
	record.promisedUntil = k.ends.Add(-clockGrain)
	record.mayEnd = record.mayEnd || !o.forceDeleted[k.Role].Before(began)
	o.run.logf("    a lease of role %s until %s: %s", k.Role, k.ends.Format(time.DateTime), k.ID)
	if o.isExcusedLease(k) {
		return
	}
	if !o.run.modals.Accepts(k.ID, k.Secret) {
		o.run.broken("a lease of role %s gave token %s, which Modal does not accept", k.Role, k.ID)
	}
	o.checkLeaseRights(k, before)
	o.checkLeaseExpiry(k)
}

func (o *oracle) isExcusedLease(k *vaultLease) bool {
	return o.record(k.ID).mayEnd || o.record(k.ID).excuse != ""
}

// fitsLease expects a lease's token to be able to do what the role said when it was read, and no more.
func (o *oracle) checkLeaseRights(k *vaultLease, before *truth) {
	user, found := o.serviceUserOf(k.ID)
	if before == nil || !found || o.rolesChanged[user.Name] {
		return
	}
	policy := before.roles[k.Role].Dynamic
	if policy == nil {
		o.run.broken("role %s gave a lease, and was no dynamic one", k.Role)
		return
	}
	if got := effectiveRoles(user); !maps.Equal(got, policy.Roles) || user.Scoped != policy.Scoped {
		o.run.broken("a lease of role %s has %v, scoped: %t, and not %v, scoped: %t", k.Role, got, user.Scoped, policy.Roles, policy.Scoped)
	}
	if what := before.exceedsLimits(user.Scoped, user.Roles); what != "" {
		o.run.broken("a lease of role %s can do more than config allows: %s", k.Role, what)
	}
}

// outlives expects a lease's token to expire after the lease.
func (o *oracle) checkLeaseExpiry(k *vaultLease) {
	user, found := o.serviceUserOf(k.ID)
	if found && o.run.clockSpread() == 0 && !user.Expires.IsZero() && k.ends.Add(-clockGrain).After(user.Expires) {
		o.run.broken("the lease of token %s of role %s runs until %s, and the token until %s", k.ID, k.Role, k.ends, user.Expires)
	}
}

// renewed notes the promise of a renewed lease, and judges its token's rights. before is the storage at the start of
// the renewal, nil if something else went on.
func (o *oracle) leaseRenewed(k *vaultLease, before *truth) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.checkRenewedRights(k, before)
	o.record(k.ID).promisedUntil = k.ends.Add(-clockGrain)
	o.run.logf("    the lease of token %s runs until %s", k.ID, k.ends.Format(time.DateTime))
	if o.run.clockSpread() == 0 && k.ends.After(k.issued.Add(k.Max+clockGrain)) {
		o.run.broken("the lease of token %s was renewed until %s, past its longest life %s from %s", k.ID, k.ends, k.Max, k.issued)
	}
	if !o.isExcusedLease(k) {
		o.checkLeaseExpiry(k)
	}
}

// leaseEnds takes a lease's promise back, as its end has come.
func (o *oracle) leaseEnding(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.record(id).promisedUntil = time.Time{}
}

// leaseEnded expects the token of a lease to be refused that was revoked, unless it was brought to a role since.
func (o *oracle) leaseEnded(id string) {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	record := o.record(id)
	if record.isLease && !record.forgotten && !t.isCurrent(id) && o.run.modals.Accepts(id, record.secret) {
		o.run.broken("the lease of token %s of role %s was revoked, and Modal accepts it", id, record.role)
	}
}

// renewedWithin expects a renewed lease's token to be able to do no more than its role and config allow.
func (o *oracle) checkRenewedRights(k *vaultLease, before *truth) {
	user, found := o.serviceUserOf(k.ID)
	if before == nil || !found || o.rolesChanged[user.Name] || o.run.conditions.DoneLate {
		return
	}
	if what := before.exceedsLimits(user.Scoped, effectiveRoles(user)); what != "" {
		o.run.broken("a lease of role %s was renewed, and can do more than config allows: %s", k.Role, what)
	}
	policy := before.roles[k.Role].Dynamic
	if policy == nil || o.record(k.ID).roleDeletions != o.deleted[k.Role] {
		return // its role was deleted
	}
	if what := excessRight(effectiveRoles(user), policy.Roles); what != "" || (policy.Scoped && !user.Scoped) {
		o.run.broken("a lease of role %s was renewed, and has %v, scoped: %t, where the role says %v, scoped: %t", k.Role, effectiveRoles(user), user.Scoped, policy.Roles, policy.Scoped)
	}
}

// beyond is what of some rights is more than others, empty for nothing.
func excessRight(has, most map[string]string) string {
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
func (o *oracle) checkNarrowed(t *truth, role string, settings RoleSettings, calls []modaltest.Call) {
	policy := t.roles[role].Dynamic
	failed := o.run.writesCanFail() || t.admin.ID == "" || t.limited
	for _, call := range calls {
		failed = failed || call.Code != codes.OK
	}
	for _, revocation := range t.revocations {
		if settings.EnvironmentRoles == nil || revocation.Role != role || !revocation.isActiveLease() || o.record(revocation.ID).roleDeletions != o.deleted[role] {
			continue
		}
		what := excessRight(revocation.Rights.Roles, policy.Roles)
		switch {
		case what == "":
		case failed || t.admin.Workspace != revocation.Workspace || o.run.isElsewhere(revocation.storedToken) || t.server != o.run.modal.URL():
			o.run.report.count("a lease keeps what its role lost")
		default:
			o.run.broken("role %s was written, and the lease of token %s keeps %s", role, revocation.ID, what)
		}
	}
}

// checkRights expects each lease's token to be able to do no more than its entry says, by which leases are narrowed
// and renewed.
func (o *oracle) checkStoredRights(t *truth) {
	for _, revocation := range t.revocations {
		user, found := o.serviceUserOf(revocation.ID)
		if !found || !revocation.isActiveLease() || o.rolesChanged[user.Name] || o.run.conditions.DoneLate {
			continue
		}
		if what := excessRight(effectiveRoles(user), revocation.Rights.Roles); what != "" || user.Scoped != revocation.Rights.Scoped {
			o.run.broken("the entry of the lease of token %s does not say %s (scoped: %t)", revocation.ID, what, user.Scoped)
		}
	}
}

// begins expects no read to begin a service user before those are settled that earlier reads failed to create.
func (o *oracle) checkSettledFirst(t *truth, revocation storedRevocation) {
	ops := o.run.running()
	if !revocation.Leased || len(ops) != 1 || !o.run.ranAlone(ops[0]) {
		return // another read may have failed since this one asked
	}
	for _, other := range t.revocations {
		if other.Role == revocation.Role && other.Generation == revocation.Generation && other.Leased && other.Reason == "unfinished" && other.Identity != revocation.Identity &&
			other.FirstNotFoundAt.IsZero() && !other.Acknowledged && !o.run.isElsewhere(other.storedToken) && !o.run.isElsewhere(revocation.storedToken) {
			o.run.broken("a read of role %s begins %s before %s is settled", revocation.Role, revocation.Identity, other.Identity)
		}
	}
}

// counts holds a new lease to the role's limit.
func (o *oracle) checkMaxLeases(t *truth, revocation storedRevocation) {
	policy := t.roles[revocation.Role].Dynamic
	if !revocation.Leased || revocation.Role == "" || policy == nil || policy.MaxLeases == 0 || (o.run.conditions.Overlap && time.Since(o.lastRoleWrite[revocation.Role]) < longestCreation) {
		return
	}
	if count := t.countLeases(revocation.Role); count == policy.MaxLeases {
		o.run.report.count("a role has max_leases leases")
	} else if count > policy.MaxLeases {
		o.run.broken("role %s has %d leases, and max_leases is %d", revocation.Role, count, policy.MaxLeases)
	}
}
