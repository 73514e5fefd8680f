// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// longestCreation is how long a creation may take in a run with overlapping operations. config may have changed
// meanwhile.
const longestCreation = 15 * time.Minute

// serviceUserOf returns the service user that owns a token.
func (o *oracle) serviceUserOf(tokenID string) (user modaltest.ServiceUserInfo, found bool) {
	for _, user := range o.run.modals.ServiceUsers() {
		if user.TokenID == tokenID {
			return user, true
		}
	}
	return modaltest.ServiceUserInfo{}, false
}

// effectiveRoles returns a service user's roles without "no-access".
func effectiveRoles(user modaltest.ServiceUserInfo) map[string]string {
	roles := maps.Clone(user.Roles)
	maps.DeleteFunc(roles, func(_, role string) bool { return role == "no-access" })
	return roles
}

// checkRoleRights expects a role's new service user to have exactly the role's rights, and no more than config
// allows. The caller holds o.mu.
func (o *oracle) checkRoleRights(t *truth, role string, token storedToken) {
	policy := t.roles[role].Managed
	user, found := o.serviceUserOf(token.ID)
	if policy == nil || !found || o.rolesChanged[user.Name] || o.record(token.ID).role != "" {
		return
	}
	for _, op := range o.run.running() {
		if op.role == role && op.what == "undo" {
			return // the service user is not new
		}
	}
	o.checkUserName(user, role, "", "")
	if got := effectiveRoles(user); !maps.Equal(got, policy.Roles) || user.Scoped != policy.Scoped {
		o.run.broken("role %s accepted token %s, but its service user has %v, scoped: %t, instead of %v, scoped: %t", role, token.ID, got, user.Scoped, policy.Roles, policy.Scoped)
	}
	if o.run.conditions.Overlap && time.Since(o.limitsChangedAt) < longestCreation {
		return
	}
	if what := t.exceedsLimits(user.Scoped, user.Roles); what != "" {
		o.run.broken("role %s accepted token %s, but its service user has rights that config does not allow: %s", role, token.ID, what)
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

// settingsWritten judges a successful write of a role, if nothing else happened.
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
		o.run.broken("role %s was written with rights that config does not allow: %s", role, what)
	}
	user, found := o.serviceUserOf(t.current[role].ID)
	if settings.EnvironmentRoles == nil || !found || o.run.conditions.DoneLate {
		return // if DoneLate is set, Modal may still change the roles later
	}
	if got := effectiveRoles(user); !maps.Equal(got, policy.Roles) {
		o.run.broken("role %s was written with its environment roles, but service user %s has %v", role, user.Name, got)
	}
	if o.rolesChanged[user.Name] {
		delete(o.rolesChanged, user.Name)
		o.run.report.count("a write repairs changed environment roles")
	}
}

// addForeign records the token of a service user that this mount did not create.
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

// checkForeign expects the engine to have deleted no service user that this mount did not create.
func (o *oracle) checkForeign(live, expired map[string]bool) {
	for _, id := range slices.Sorted(maps.Keys(o.foreign)) {
		if record := o.record(id); !live[id] && !expired[id] && record.excuse == "" && !record.mayEnd {
			o.run.broken("the service user of token %s is gone, although this mount did not create it", id)
		}
	}
}

func (o *oracle) rolesChangedByHand(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.rolesChanged[name] = true
}
