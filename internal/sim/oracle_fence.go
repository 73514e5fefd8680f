// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// young is how long a service user may be nobody's, as it is being made.
const young = 11 * time.Minute

// unanswered are the service users of this mount that a restored storage knows nothing of, and that nobody
// has accepted.
func (o *oracle) unanswered() []string {
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.orphansOf(t)
}

func (o *oracle) orphansOf(t *truth) []string {
	var nobodys []string
	for _, u := range o.l.modal.ServiceUsers() {
		accepted := o.accepts[u.Name] || slices.Contains(t.accepted, u.Name) // the latter where no answer said so
		if strings.HasPrefix(u.Name, prefix) && u.Workspace == home && time.Since(u.Created) > young && !accepted && !t.answersFor(u.Name, u.TokenID) {
			nobodys = append(nobodys, u.Name)
		}
	}
	return nobodys
}

// copied sees a service user of the mount that another copy of it answers for.
func (o *oracle) copied(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.strangers[name], o.fenced = true, true
}

// says notes an operator's word on orphans: from here on the mount may end things again.
func (o *oracle) says(t Tidying) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fenced = false
	if !t.Accept {
		for _, name := range t.Names {
			delete(o.accepts, name)
			o.spared[name], o.excusedUsers[name] = false, true // also where another request still accepts it
		}
	}
}

// tidied judges what became of orphans.
func (o *oracle) tidied(t Tidying, done Tidied, op *operation) {
	if !t.DryRun && t.Accept {
		o.mu.Lock()
		for _, name := range done.Names {
			o.accepts[name], o.spared[name] = true, true
		}
		o.mu.Unlock()
	}
	if t.DryRun && len(t.Names) == 0 {
		o.listed(done.Names, op)
	}
}

// listed expects orphans to be those that nothing answers for, and, where nothing is wrong, all of them.
func (o *oracle) listed(names []string, op *operation) {
	t := o.l.disk.truth()
	alone := o.l.isAlone(op)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range names {
		if entry, known := t.entry(name); known && alone {
			o.l.broken("%s is said to be an orphan, and the entry %s answers for it", name, entry.key)
		}
		if t.answersFor(name, "none") && alone {
			o.l.broken("%s is said to be an orphan, and a role answers for it", name)
		}
	}
	if !alone || o.l.doubt() > 0 || t.server != o.l.modal.URL() || t.admin.Identity != o.l.owner.Username() || o.l.climate.AdminTrouble {
		return
	}
	for _, name := range o.orphansOf(t) {
		if !slices.Contains(names, name) {
			o.l.broken("nothing answers for %s, and it is not among the orphans", name)
		}
	}
}

// checkSpared expects an accepted orphan to live until an operator says otherwise by its name.
func (o *oracle) checkSpared() {
	users := o.l.modals.ServiceUsers()
	for _, name := range slices.Sorted(maps.Keys(o.spared)) {
		at := slices.IndexFunc(users, func(u modaltest.ServiceUserInfo) bool { return u.Name == name })
		if o.spared[name] && at < 0 && !o.excusedUsers[name] {
			o.l.broken("the orphan %s was accepted, and is gone", name)
		}
	}
}

// byItself holds what the mount did by itself at Modal to what it may do: nothing while it is paused, and
// end nothing while its storage is not Modal's latest truth. before is what storage held.
func (o *oracle) byItself(what string, before *truth, calls []modaltest.Call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fenced := o.fenced && o.l.doubt() == 0 && !o.l.climate.AdminTrouble && len(o.orphansOf(before)) > 0 &&
		before.server == o.l.modal.URL() && before.admin.Workspace == home && !before.limited && o.l.modals.Accepts(before.admin.ID, before.admin.Secret)
	for _, call := range calls {
		user, known := o.users[call.Target]
		entry, waits := before.entry(user)
		read := what == "read lease" // it may create, and delete what it created itself
		if before.paused && slices.Contains([]string{"ServiceUserCreate", "ServiceUserDelete", "EnvironmentRoleSet"}, call.Method) &&
			(!read || (call.Method == "ServiceUserDelete" && known && waits)) {
			o.l.broken("the mount is paused, and %s asked for %s of %s", what, call.Method, call.Target)
		}
		token, waiting := before.waiting(call.Target)
		if call.Method == "TokenDelete" && before.diverged && fenced && waiting && !token.Forced && token.Reason != "approved" {
			o.l.broken("the mount is out of sync, and %s asked for the end of token %s (%s)", what, call.Target, token.Reason)
		}
		if !fenced || call.Method != "ServiceUserDelete" || call.Code == codes.Unauthenticated { // an expired admin token sees no orphans, and ends nothing
			continue
		}
		if known && waits && !entry.Forced {
			o.l.broken("orphans are there and nobody said what becomes of them, and %s ended service user %s (%s)", what, user, entry.Reason)
		}
	}
	if o.fenced && fenced {
		o.l.report.seen("the mount is out of sync: " + what)
	}
	if before.paused {
		o.l.report.seen("the mount is paused: " + what)
	}
}
