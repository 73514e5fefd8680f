// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// slowest is how long a minting may take in a life whose operations overlap: config may have changed
// meanwhile.
const longestCreation = 15 * time.Minute

// serviceUser is the one that owns a token.
func (o *oracle) serviceUserOf(tokenID string) (user modaltest.ServiceUserInfo, found bool) {
	for _, user := range o.run.modals.ServiceUsers() {
		if user.TokenID == tokenID {
			return user, true
		}
	}
	return modaltest.ServiceUserInfo{}, false
}

// rights are a service user's roles, without those that give nothing.
func effectiveRoles(user modaltest.ServiceUserInfo) map[string]string {
	roles := maps.Clone(user.Roles)
	maps.DeleteFunc(roles, func(_, role string) bool { return role == "no-access" })
	return roles
}

// fits expects a service user that was made for a role to be able to do what the role says, and no more
// than config allows. It expects o.mu.
func (o *oracle) checkRoleRights(t *truth, role string, token storedToken) {
	policy := t.roles[role].Managed
	user, found := o.serviceUserOf(token.ID)
	if policy == nil || !found || o.rolesChanged[user.Name] || o.record(token.ID).role != "" {
		return
	}
	for _, op := range o.run.running() {
		if op.role == role && op.what == "undo" {
			return // it is not new
		}
	}
	if got := effectiveRoles(user); !maps.Equal(got, policy.Roles) || user.Scoped != policy.Scoped {
		o.run.broken("role %s took token %s, whose service user has %v, scoped: %t, and not %v, scoped: %t", role, token.ID, got, user.Scoped, policy.Roles, policy.Scoped)
	}
	if o.run.conditions.Overlap && time.Since(o.limitsChangedAt) < longestCreation {
		return
	}
	if what := t.exceedsLimits(user.Scoped, user.Roles); what != "" {
		o.run.broken("role %s took token %s, whose service user can do more than config allows: %s", role, token.ID, what)
	}
}

func (o *oracle) configWritten(before, after []byte) {
	was, is := readTruth(map[string][]byte{"config": before}), readTruth(map[string][]byte{"config": after})
	if was.admin.ID != is.admin.ID {
		o.adminTokenWritten(was, is)
	}
	if was.maxRole != is.maxRole || !slices.Equal(was.allowed, is.allowed) {
		o.limitsChangedAt = time.Now()
	}
}

// written judges a write of a role that was answered, and that nothing went on beside.
func (o *oracle) settingsWritten(role string, settings RoleSettings, calls []modaltest.Call) {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.roles[role].Dynamic != nil {
		o.checkNarrowed(t, role, settings, calls)
	}
	policy := t.roles[role].Managed
	if policy == nil {
		return
	}
	if what := t.exceedsLimits(policy.Scoped, policy.Roles); what != "" {
		o.run.broken("role %s was written, and asks for more than config allows: %s", role, what)
	}
	user, found := o.serviceUserOf(t.current[role].ID)
	if settings.EnvironmentRoles == nil || !found || o.run.conditions.DoneLate {
		return // or Modal does later what it was asked earlier
	}
	if got := effectiveRoles(user); !maps.Equal(got, policy.Roles) {
		o.run.broken("role %s was written with its environment roles, and service user %s has %v", role, user.Name, got)
	}
	if o.rolesChanged[user.Name] {
		delete(o.rolesChanged, user.Name)
		o.run.report.count("drift is mended by a write")
	}
}

// others notes the token of a service user that this mount did not make.
func (o *oracle) addForeign(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.foreign[id] = true
}

func (o *oracle) isForeign(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.foreign[id]
}

// checkTheirs expects the engine to have ended no service user that this mount did not make.
func (o *oracle) checkForeign(live, expired map[string]bool) {
	for _, id := range slices.Sorted(maps.Keys(o.foreign)) {
		if record := o.record(id); !live[id] && !expired[id] && record.excuse == "" && !record.mayEnd {
			o.run.broken("the service user of token %s is gone, which this mount did not make", id)
		}
	}
}

func (o *oracle) rolesChangedByHand(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rolesChanged[name] = true
}
