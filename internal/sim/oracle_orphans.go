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
const orphanMinAge = 11 * time.Minute

// unanswered are the service users of this mount that a restored storage knows nothing of, and that nobody
// has accepted.
func (o *oracle) orphans() []string {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.orphansOf(t)
}

func (o *oracle) orphansOf(t *truth) []string {
	var orphans []string
	for _, u := range o.run.modal.ServiceUsers() {
		accepted := o.acceptedOrphans[u.Name] || slices.Contains(t.acceptedOrphans, u.Name) // the latter where no answer said so
		if strings.HasPrefix(u.Name, prefix) && u.Workspace == home && time.Since(u.Created) > orphanMinAge && !accepted && !t.tracks(u.Name, u.TokenID) {
			orphans = append(orphans, u.Name)
		}
	}
	return orphans
}

// copied sees a service user of the mount that another copy of it answers for.
func (o *oracle) copyCreated(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.untracked[name], o.awaitsDecision = true, true
}

// says notes an operator's word on orphans: from here on the mount may end things again.
func (o *oracle) operatorDecided(t CleanupRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.awaitsDecision = false
	if !t.Accept {
		for _, name := range t.Names {
			delete(o.acceptedOrphans, name)
			o.mustLive[name], o.excusedUsers[name] = false, true // also where another request still accepts it
		}
	}
}

// tidied judges what became of orphans.
func (o *oracle) checkCleanup(t CleanupRequest, done CleanupResult, op *operation) {
	if !t.DryRun && t.Accept {
		o.mu.Lock()
		for _, name := range done.Names {
			o.acceptedOrphans[name], o.mustLive[name] = true, true
		}
		o.mu.Unlock()
	}
	if t.DryRun && len(t.Names) == 0 {
		o.checkOrphanList(done.Names, op)
	}
}

// listed expects orphans to be those that nothing answers for, and, where nothing is wrong, all of them.
func (o *oracle) checkOrphanList(names []string, op *operation) {
	t := o.run.disk.truth()
	alone := o.run.ranAlone(op)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range names {
		if revocation, known := t.revocationOfUser(name); known && alone {
			o.run.broken("%s is said to be an orphan, and the entry %s answers for it", name, revocation.key)
		}
		if t.tracks(name, "none") && alone {
			o.run.broken("%s is said to be an orphan, and a role answers for it", name)
		}
	}
	if !alone || o.run.clockSpread() > 0 || t.server != o.run.modal.URL() || t.admin.Identity != o.run.owner.Username() || o.run.conditions.AdminTrouble {
		return
	}
	for _, name := range o.orphansOf(t) {
		if !slices.Contains(names, name) {
			o.run.broken("nothing answers for %s, and it is not among the orphans", name)
		}
	}
}

// checkSpared expects an accepted orphan to live until an operator says otherwise by its name.
func (o *oracle) checkAcceptedOrphans() {
	users := o.run.modals.ServiceUsers()
	for _, name := range slices.Sorted(maps.Keys(o.mustLive)) {
		at := slices.IndexFunc(users, func(u modaltest.ServiceUserInfo) bool { return u.Name == name })
		if o.mustLive[name] && at < 0 && !o.excusedUsers[name] {
			o.run.broken("the orphan %s was accepted, and is gone", name)
		}
	}
}

// byItself holds what the mount did by itself at Modal to what it may do: nothing while it is paused, and
// end nothing while its storage is not Modal's latest truth. before is what storage held.
func (o *oracle) checkBackgroundCalls(what string, before *truth, calls []modaltest.Call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	fenced := o.awaitsDecision && o.run.clockSpread() == 0 && !o.run.conditions.AdminTrouble && len(o.orphansOf(before)) > 0 &&
		before.server == o.run.modal.URL() && before.admin.Workspace == home && !before.limited && o.run.modals.Accepts(before.admin.ID, before.admin.Secret)
	for _, call := range calls {
		user, known := o.userNames[call.Target]
		revocation, waits := before.revocationOfUser(user)
		read := what == "read lease" // it may create, and delete what it created itself
		if before.paused && slices.Contains([]string{"ServiceUserCreate", "ServiceUserDelete", "EnvironmentRoleSet"}, call.Method) &&
			(!read || (call.Method == "ServiceUserDelete" && known && waits)) {
			o.run.broken("the mount is paused, and %s asked for %s of %s", what, call.Method, call.Target)
		}
		token, waiting := before.revocationOfToken(call.Target)
		if call.Method == "TokenDelete" && before.outOfSync && fenced && waiting && !token.Forced && token.Reason != "approved" {
			o.run.broken("the mount is out of sync, and %s asked for the end of token %s (%s)", what, call.Target, token.Reason)
		}
		if !fenced || call.Method != "ServiceUserDelete" || call.Code == codes.Unauthenticated { // an expired admin token sees no orphans, and ends nothing
			continue
		}
		if known && waits && !revocation.Forced {
			o.run.broken("orphans are there and nobody said what becomes of them, and %s ended service user %s (%s)", what, user, revocation.Reason)
		}
	}
	if o.awaitsDecision && fenced {
		o.run.report.count("the mount is out of sync: " + what)
	}
	if before.paused {
		o.run.report.count("the mount is paused: " + what)
	}
}
