// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// person deletes something at Modal by hand.
func (l *Life) person() {
	tokens := l.modals.Tokens()
	if len(tokens) == 0 {
		return
	}
	victim := tokens[roll(l.rt, "victim", len(tokens))]
	if t := l.disk.truth(); roll(l.rt, "a current one", 2) == 1 {
		if at := slices.IndexFunc(tokens, func(info modaltest.TokenInfo) bool { return info.ID == t.current[l.anyRole()].ID }); at >= 0 {
			victim = tokens[at]
		}
	}
	l.deleteByHand(victim.ID, victim.Owner)
}

func (l *Life) deleteByHand(id, owner string) {
	l.note("somebody deletes %s of %s", id, owner)
	l.oracle.excuse(id, "a person deleted it")
	l.oracle.excuseUser(id)
	l.modals.DeleteToken(id)
}

// bereave deletes the token of a managed role by hand.
func (l *Life) bereave() {
	if name, role := l.mayDrift(); role != "" {
		l.deleteByHand(l.disk.truth().current[role].ID, name)
	}
}

// changeExpiry changes by hand when a role's current token, or the admin token, expires.
func (l *Life) changeExpiry() {
	t := l.disk.truth()
	id := t.current[l.anyRole()].ID
	if id == "" || roll(l.rt, "the admin's", 4) == 3 {
		id = t.admin.ID
	}
	at := slices.IndexFunc(l.modal.Tokens(), func(info modaltest.TokenInfo) bool { return info.ID == id })
	if at < 0 {
		return
	}
	expires := time.Time{}
	if in := l.duration("in", 20*day, 5*day, 60*day, 0); in > 0 {
		expires = time.Now().Add(in).Truncate(time.Second)
	}
	l.note("somebody has token %s expire at %s", id, expires.Format(time.DateTime))
	l.modal.SetExpiry(id, expires)
	l.oracle.movedExpiry(id)
}

// assignments are environment roles as people write them.
func assignments(roles map[string]string) string {
	var pairs []string
	for _, environment := range slices.Sorted(maps.Keys(roles)) {
		pairs = append(pairs, environment+"="+roles[environment])
	}
	return strings.Join(pairs, ",")
}

// drift changes what a service user of this mount may do, by hand. Often an operator sees it, and writes
// what should be.
func (l *Life) drift() {
	name, role := l.mayDrift()
	if name == "" {
		return
	}
	environment := []string{"main", "staging"}[roll(l.rt, "environment", 2)]
	right := []string{"contributor", "viewer", "no-access", ""}[roll(l.rt, "right", 4)]
	l.note("somebody makes %s %q of %s", name, right, environment)
	l.oracle.drift(name)
	l.workspace.SetServiceUserRole(name, environment, right)
	if role != "" && roll(l.rt, "asked", 4) == 3 {
		l.check()
		l.verifyRole(role)
		return
	}
	if role != "" && roll(l.rt, "seen", 4) > 0 {
		l.note("write role %s again", role)
		l.write("write role", role, Policy{EnvironmentRoles: ptr(assignments(l.disk.truth().roles[role].Managed.Roles))})
	}
}

// mayDrift is a service user that may drift: nearly always the current one of a managed role, and then of which.
func (l *Life) mayDrift() (name, role string) {
	t := l.disk.truth()
	var users, roles []string
	for _, user := range l.modal.ServiceUsers() {
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
	case len(roles) > 0 && roll(l.rt, "current", 4) > 0:
		role = roles[roll(l.rt, "role", len(roles))]
		return t.current[role].Identity, role
	case len(users) > 0:
		return users[roll(l.rt, "service user", len(users))], ""
	}
	return "", ""
}
