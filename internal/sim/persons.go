// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// deleteAnyByHand deletes a token at Modal by hand.
func (run *Run) deleteAnyByHand() {
	tokens := run.modals.Tokens()
	if len(tokens) == 0 {
		return
	}
	victim := tokens[run.roll("victim", len(tokens))]
	if t := run.disk.truth(); run.roll("a current one", 2) == 1 {
		if at := slices.IndexFunc(tokens, func(info modaltest.TokenInfo) bool { return info.ID == t.current[run.anyRole()].ID }); at >= 0 {
			victim = tokens[at]
		}
	}
	run.deleteByHand(victim.ID, victim.Owner)
}

func (run *Run) deleteByHand(id, owner string) {
	run.logf("somebody deletes %s of %s", id, owner)
	run.noteTrouble()
	run.oracle.excuseToken(id, "a person deleted it")
	run.oracle.excuseServiceUser(id)
	run.modals.DeleteToken(id)
}

// deleteCurrentByHand deletes a managed role's current token by hand.
func (run *Run) deleteCurrentByHand() {
	if name, role := run.anyServiceUser(); role != "" {
		run.deleteByHand(run.disk.truth().current[role].ID, name)
	}
}

// changeExpiry changes by hand when a role's current token or the admin token expires.
func (run *Run) changeExpiry() {
	t := run.disk.truth()
	id := t.current[run.anyRole()].ID
	if id == "" || run.roll("the admin token", 4) == 3 {
		id = t.admin.ID
	}
	at := slices.IndexFunc(run.modal.Tokens(), func(info modaltest.TokenInfo) bool { return info.ID == id })
	if at < 0 {
		return
	}
	expires := time.Time{}
	if in := run.drawDuration("in", 20*day, 5*day, 60*day, 0); in > 0 {
		expires = time.Now().Add(in).Truncate(time.Second)
	}
	run.logf("somebody sets the expiry of token %s to %s", id, expires.Format(time.DateTime))
	run.modal.SetExpiry(id, expires)
	run.noteTrouble()
	run.oracle.expiryChangedByHand(id)
}

// assignments formats environment roles as people write them.
func assignments(roles map[string]string) string {
	var parts []string
	for _, environment := range slices.Sorted(maps.Keys(roles)) {
		parts = append(parts, environment+"="+roles[environment])
	}
	return strings.Join(parts, ",")
}

// changeRolesByHand changes the environment roles of a service user of this mount by hand. Often an operator
// notices and writes the role again.
func (run *Run) changeRolesByHand() {
	name, role := run.anyServiceUser()
	if name == "" {
		return
	}
	environment := []string{"main", "staging"}[run.roll("environment", 2)]
	right := []string{"contributor", "viewer", "no-access", ""}[run.roll("right", 4)]
	run.logf("somebody sets the role of %s to %q in %s", name, right, environment)
	run.oracle.rolesChangedByHand(name)
	run.noteTrouble()
	run.workspace.SetServiceUserRole(name, environment, right)
	if role != "" && run.roll("asked", 4) == 3 {
		run.check()
		run.verifyRole(role)
		return
	}
	if role != "" && run.roll("seen", 4) > 0 {
		run.writeSettings("write role", role, RoleSettings{EnvironmentRoles: ptr(assignments(run.disk.truth().roles[role].Managed.Roles))})
	}
}

// anyServiceUser draws a service user of this mount. Nearly always it is the current one of a managed role, and
// then role names it.
func (run *Run) anyServiceUser() (name, role string) {
	t := run.disk.truth()
	var users, roles []string
	for _, user := range run.modal.ServiceUsers() {
		if strings.HasPrefix(user.Name, prefix) && user.Workspace == home {
			users = append(users, user.Name)
		}
	}
	for _, role := range t.names() {
		if t.roles[role].Managed != nil && slices.Contains(users, t.current[role].Identity) {
			roles = append(roles, role)
		}
	}
	switch {
	case len(roles) > 0 && run.roll("current", 4) > 0:
		role = roles[run.roll("role", len(roles))]
		return t.current[role].Identity, role
	case len(users) > 0:
		return users[run.roll("service user", len(users))], ""
	}
	return "", ""
}
