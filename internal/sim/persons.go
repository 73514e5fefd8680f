// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"strings"
)

// person deletes something at Modal by hand.
func (l *Life) person() {
	tokens := l.modals.Tokens()
	if len(tokens) == 0 {
		return
	}
	victim := tokens[roll(l.rt, "victim", len(tokens))]
	l.note("somebody deletes %s of %s", victim.ID, victim.Owner)
	l.oracle.excuse(victim.ID, "a person deleted it")
	l.modals.DeleteToken(victim.ID)
}

// assignments are environment roles as people write them.
func assignments(roles map[string]string) string {
	var pairs []string
	for _, environment := range slices.Sorted(maps.Keys(roles)) {
		pairs = append(pairs, environment+"="+roles[environment])
	}
	return strings.Join(pairs, ",")
}

// drift changes what a service user of this mount may do, by hand.
func (l *Life) drift() {
	var users []string
	for _, user := range l.modal.ServiceUsers() {
		if strings.HasPrefix(user.Name, prefix) {
			users = append(users, user.Name)
		}
	}
	if len(users) == 0 {
		return
	}
	name := users[roll(l.rt, "service user", len(users))]
	environment := []string{"main", "staging"}[roll(l.rt, "environment", 2)]
	role := []string{"contributor", "viewer", "no-access", ""}[roll(l.rt, "role", 4)]
	l.note("somebody makes %s %q of %s", name, role, environment)
	l.oracle.drift(name)
	l.workspace.SetServiceUserRole(name, environment, role)
	// Often an operator sees it, and writes what should be.
	t := l.disk.truth()
	for _, of := range t.names() {
		if policy := t.roles[of].Managed; policy != nil && t.current[of].Identity == name && roll(l.rt, "seen", 2) == 1 {
			l.note("write role %s again", of)
			l.write("write role", of, Policy{EnvironmentRoles: ptr(assignments(policy.Roles))})
		}
	}
}
