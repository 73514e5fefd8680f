// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// secretShape matches the secret of a Modal token.
var secretShape = regexp.MustCompile(`as-[0-9A-Za-z]{20,}`)

// eventSent judges an event: it has no secret, and its claim is true.
func (o *oracle) eventSent(e Event) {
	o.checkEventSecrets(e)
	id := e.Data["token_id"]
	switch e.Kind {
	case "modal/revoke":
		if id != "" {
			o.reportedRevoked(id)
		}
		o.checkUserGone(strings.TrimPrefix(e.Data["path"], "revocations/"))
	case "modal/rotate":
		o.rotateEvent(e)
	case "modal/token-rejected":
		o.rejectEvent(e.Data["role"], id)
	}
}

// checkEventSecrets expects an event to have no secret.
func (o *oracle) checkEventSecrets(e Event) {
	for _, field := range slices.Sorted(maps.Keys(e.Data)) {
		if secretShape.MatchString(e.Data[field]) {
			o.run.broken("the event %s has a secret in %s", e.Kind, field)
		}
	}
}

// checkUserGone expects that no service user has the name.
func (o *oracle) checkUserGone(name string) {
	if slices.ContainsFunc(o.run.modals.ServiceUsers(), func(u modaltest.ServiceUserInfo) bool { return u.Name == name }) {
		o.run.broken("the engine says that %s is revoked, but Modal has this service user", name)
	}
}

// rotateEvent expects the event of a rotation to name a token that became the role's current one.
func (o *oracle) rotateEvent(e Event) {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	role, id, previous := e.Data["role"], e.Data["token_id"], e.Data["previous_token_id"]
	o.rotateEvents[role+" "+e.Data["version"]]++
	if role == "" {
		return // the admin token
	}
	if o.record(id).role != role && t.current[role].ID != id {
		o.run.broken("an event says that role %s has the new token %s, but the role never had it", role, id)
	}
	if previous != "" && o.record(previous).replacedAt.IsZero() {
		o.run.broken("an event says that role %s replaced token %s, but no role replaced it", role, previous)
	}
}

// checkRotateEvent expects one event for a rotation. The caller has just got the answer.
func (o *oracle) checkRotateEvent(role string, version int64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if count := o.rotateEvents[fmt.Sprintf("%s %d", role, version)]; count == 0 {
		o.run.broken("role %s was rotated to version %d without an event", role, version)
	}
}

// rejectEvent expects that Modal rejects the current token of a role that an event calls rejected. An unverified token
// may belong to another server than the engine asks.
func (o *oracle) rejectEvent(role, id string) {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	current := t.current[role]
	if role == "" {
		current = t.admin
	}
	if current.ID == id && !o.run.conditions.LateToLearn && o.run.modals.AcceptsAt(cmp.Or(current.Server, t.server), id, current.Secret) {
		o.run.broken("an event says that Modal rejects token %s, but Modal accepts it", id)
	}
}
