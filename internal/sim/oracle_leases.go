// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// deletions returns how often a role has been deleted.
func (o *oracle) deletions(role string) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.deleted[role]
}

// leaseIssued records a lease's promise and judges its token. before is the content of storage when the read
// started, or nil if anything else happened. deletions is how often the role had been deleted then.
func (o *oracle) leaseIssued(k *vaultLease, before *truth, began time.Time, deletions int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	record := o.record(k.ID)
	record.role, record.secret, record.tracked, record.isLease, record.roleDeletions = k.Role, k.Secret, true, true, deletions
	record.promise(k.ends.Add(-clockGrain), "its lease ends then")
	record.mayEnd = record.mayEnd || !o.forceDeleted[k.Role].Before(began)
	o.run.logf("    a lease of role %s until %s: %s", k.Role, k.ends.Format(time.DateTime), k.ID)
	if o.isExcusedLease(k) {
		return
	}
	if !o.run.modals.Accepts(k.ID, k.Secret) {
		o.run.broken("a lease of role %s returned token %s, which Modal rejects", k.Role, k.ID)
	}
	o.checkLeaseRights(k, before)
	o.checkLeaseExpiry(k)
}

func (o *oracle) isExcusedLease(k *vaultLease) bool {
	return o.record(k.ID).mayEnd || o.record(k.ID).excuse != ""
}

// checkLeaseRights expects a lease's token to have exactly the rights that its role had at the read.
func (o *oracle) checkLeaseRights(k *vaultLease, before *truth) {
	user, found := o.serviceUserOf(k.ID)
	if before == nil || !found || o.rolesChanged[user.Name] {
		return
	}
	policy := before.roles[k.Role].Dynamic
	if policy == nil {
		o.run.broken("role %s returned a lease, but it was not a dynamic role", k.Role)
		return
	}
	o.checkUserName(user, k.Role, policy.Template, k.reader)
	if got := effectiveRoles(user); !maps.Equal(got, policy.Roles) || user.Scoped != policy.Scoped {
		o.run.broken("a lease of role %s has %v, scoped: %t, instead of %v, scoped: %t", k.Role, got, user.Scoped, policy.Roles, policy.Scoped)
	}
	if what := before.exceedsLimits(user.Scoped, user.Roles); what != "" {
		o.run.broken("a lease of role %s has rights that config does not allow: %s", k.Role, what)
	}
}

// checkLeaseExpiry expects a lease's token to expire after the lease.
func (o *oracle) checkLeaseExpiry(k *vaultLease) {
	user, found := o.serviceUserOf(k.ID)
	if found && o.run.clockSpread() == 0 && !user.Expires.IsZero() && k.ends.Add(-clockGrain).After(user.Expires) {
		o.run.broken("the lease of token %s of role %s ends at %s, but the token expires at %s", k.ID, k.Role, k.ends, user.Expires)
	}
}

// leaseRenewed records the promise of a renewed lease and judges its token's rights. before is the content of
// storage when the renewal started, or nil if anything else happened.
func (o *oracle) leaseRenewed(k *vaultLease, before *truth) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.checkRenewedRights(k, before)
	o.record(k.ID).promise(k.ends.Add(-clockGrain), "its renewed lease ends then")
	o.run.logf("    the lease of token %s now ends at %s", k.ID, k.ends.Format(time.DateTime))
	if o.run.clockSpread() == 0 && k.ends.After(k.issued.Add(k.Max+clockGrain)) {
		o.run.broken("the lease of token %s was renewed until %s, past max_ttl %s from %s", k.ID, k.ends, k.Max, k.issued)
	}
	if !o.isExcusedLease(k) {
		o.checkLeaseExpiry(k)
	}
}

// leaseEnding withdraws a lease's promise at the lease's end.
func (o *oracle) leaseEnding(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.record(id).promisedUntil = time.Time{}
}

// leaseEnded expects Modal to reject the token of a revoked lease, unless a role accepted the token since.
func (o *oracle) leaseEnded(id string) {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	record := o.record(id)
	if record.isLease && !record.forgotten && !t.isCurrent(id) && o.run.modals.Accepts(id, record.secret) {
		o.run.broken("the lease of token %s of role %s was revoked, but Modal accepts the token", id, record.role)
	}
}

// checkRenewedRights expects a renewed lease's token to have no more rights than its role and config allow.
func (o *oracle) checkRenewedRights(k *vaultLease, before *truth) {
	user, found := o.serviceUserOf(k.ID)
	if before == nil || !found || o.rolesChanged[user.Name] || o.run.conditions.DoneLate {
		return
	}
	if what := before.exceedsLimits(user.Scoped, effectiveRoles(user)); what != "" {
		o.run.broken("a lease of role %s was renewed, but has rights that config does not allow: %s", k.Role, what)
	}
	policy := before.roles[k.Role].Dynamic
	if policy == nil || o.record(k.ID).roleDeletions != o.deleted[k.Role] {
		return // the lease's role was deleted
	}
	if what := excessRight(effectiveRoles(user), policy.Roles); what != "" || (policy.Scoped && !user.Scoped) {
		o.run.broken("a lease of role %s was renewed with %v, scoped: %t, but the role has %v, scoped: %t", k.Role, effectiveRoles(user), user.Scoped, policy.Roles, policy.Scoped)
	}
}

// excessRight names a right in has that exceeds most, or returns "".
func excessRight(has, most map[string]string) string {
	rank := map[string]int{"viewer": 1, "contributor": 2}
	for _, environment := range slices.Sorted(maps.Keys(has)) {
		if rank[has[environment]] > rank[most[environment]] {
			return has[environment] + " of environment " + environment
		}
	}
	return ""
}

// checkNarrowed expects a write of a role to have narrowed the role's leases, if Modal answered each call and
// storage kept each write.
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
			o.run.report.count("a lease keeps rights that its role lost")
		default:
			o.run.broken("role %s was written, but the lease of token %s keeps %s", role, revocation.ID, what)
		}
	}
}

// checkStoredRights expects each lease's token to have no more rights than its revocation says. The engine narrows
// and renews leases by this record.
func (o *oracle) checkStoredRights(t *truth) {
	for _, revocation := range t.revocations {
		user, found := o.serviceUserOf(revocation.ID)
		if !found || !revocation.isActiveLease() || o.rolesChanged[user.Name] || o.run.conditions.DoneLate {
			continue
		}
		if what := excessRight(effectiveRoles(user), revocation.Rights.Roles); what != "" || user.Scoped != revocation.Rights.Scoped {
			o.run.broken("the revocation of the lease of token %s does not contain %s (scoped: %t)", revocation.ID, what, user.Scoped)
		}
	}
}

// checkSettledFirst expects a read to create no service user while an earlier failed creation of the role is not
// settled.
func (o *oracle) checkSettledFirst(t *truth, revocation storedRevocation) {
	ops := o.run.running()
	if !revocation.Leased || len(ops) != 1 || !o.run.ranAlone(ops[0]) {
		return // another read may have failed since this read checked
	}
	for _, other := range t.revocations {
		if other.Role == revocation.Role && other.Generation == revocation.Generation && other.Leased && other.Reason == "unfinished" && other.Identity != revocation.Identity &&
			other.FirstNotFoundAt.IsZero() && !other.Acknowledged && !o.run.isElsewhere(other.storedToken) && !o.run.isElsewhere(revocation.storedToken) {
			o.run.broken("a read of role %s creates %s before %s is settled", revocation.Role, revocation.Identity, other.Identity)
		}
	}
}

// checkMaxLeases compares the number of leases with the role's max_leases.
func (o *oracle) checkMaxLeases(t *truth, revocation storedRevocation) {
	policy := t.roles[revocation.Role].Dynamic
	if !revocation.Leased || revocation.Role == "" || policy == nil || policy.MaxLeases == 0 || (o.run.conditions.Overlap && time.Since(o.lastRoleWrite[revocation.Role]) < longestCreation) {
		return
	}
	if count := t.countLeases(revocation.Role); count == policy.MaxLeases {
		o.run.report.count("a role has max_leases leases")
	} else if count > policy.MaxLeases {
		o.run.broken("role %s has %d leases, but max_leases is %d", revocation.Role, count, policy.MaxLeases)
	}
}
