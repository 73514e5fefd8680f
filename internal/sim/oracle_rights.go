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
const slowest = 15 * time.Minute

// serviceUser is the one that owns a token.
func (o *oracle) serviceUser(tokenID string) (user modaltest.ServiceUserInfo, found bool) {
	for _, user := range o.l.modals.ServiceUsers() {
		if user.TokenID == tokenID {
			return user, true
		}
	}
	return modaltest.ServiceUserInfo{}, false
}

// rights are a service user's roles, without those that give nothing.
func rights(user modaltest.ServiceUserInfo) map[string]string {
	roles := maps.Clone(user.Roles)
	maps.DeleteFunc(roles, func(_, role string) bool { return role == "no-access" })
	return roles
}

// fits expects a service user that was made for a role to be able to do what the role says, and no more
// than config allows. It expects o.mu.
func (o *oracle) fits(t *truth, role string, token storedToken) {
	policy := t.roles[role].Managed
	user, found := o.serviceUser(token.ID)
	if policy == nil || !found || o.drifted[user.Name] || o.of(token.ID).role != "" {
		return
	}
	for _, op := range o.l.running() {
		if op.role == role && op.what == "undo" {
			return // it is not new
		}
	}
	if got := rights(user); !maps.Equal(got, policy.Roles) || user.Scoped != policy.Scoped {
		o.l.broken("role %s took token %s, whose service user has %v, scoped: %t, and not %v, scoped: %t", role, token.ID, got, user.Scoped, policy.Roles, policy.Scoped)
	}
	if o.l.climate.Overlap && time.Since(o.lowered) < slowest {
		return
	}
	if what := t.exceeds(user.Scoped, user.Roles); what != "" {
		o.l.broken("role %s took token %s, whose service user can do more than config allows: %s", role, token.ID, what)
	}
}

func (o *oracle) wroteConfig(before, after []byte) {
	was, is := read(map[string][]byte{"config": before}), read(map[string][]byte{"config": after})
	if was.admin.ID != is.admin.ID {
		o.wroteAdmin(was, is)
	}
	if was.mostRole != is.mostRole || !slices.Equal(was.allowed, is.allowed) {
		o.lowered = time.Now()
	}
}

// written judges a write of a role that was answered, and that nothing went on beside.
func (o *oracle) written(role string, p Policy, calls []modaltest.Call) {
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	if t.roles[role].Dynamic != nil {
		o.narrowed(t, role, p, calls)
	}
	policy := t.roles[role].Managed
	if policy == nil {
		return
	}
	if what := t.exceeds(policy.Scoped, policy.Roles); what != "" {
		o.l.broken("role %s was written, and asks for more than config allows: %s", role, what)
	}
	user, found := o.serviceUser(t.current[role].ID)
	if p.EnvironmentRoles == nil || !found || o.l.climate.DoneLate {
		return // or Modal does later what it was asked earlier
	}
	if got := rights(user); !maps.Equal(got, policy.Roles) {
		o.l.broken("role %s was written with its environment roles, and service user %s has %v", role, user.Name, got)
	}
	if o.drifted[user.Name] {
		delete(o.drifted, user.Name)
		o.l.report.seen("drift is mended by a write")
	}
}

// others notes the token of a service user that this mount did not make.
func (o *oracle) others(id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.theirs[id] = true
}

func (o *oracle) isTheirs(id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.theirs[id]
}

// checkTheirs expects the engine to have ended no service user that this mount did not make.
func (o *oracle) checkTheirs(live, expired map[string]bool) {
	for _, id := range slices.Sorted(maps.Keys(o.theirs)) {
		if told := o.of(id); !live[id] && !expired[id] && told.excuse == "" && !told.free {
			o.l.broken("the service user of token %s is gone, which this mount did not make", id)
		}
	}
}

func (o *oracle) drift(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drifted[name] = true
}
