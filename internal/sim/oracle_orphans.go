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

// orphanMinAge is the age at which an unknown service user becomes an orphan. A younger one may belong to an
// unfinished creation.
const orphanMinAge = 11 * time.Minute

// orphans returns the service users of this mount that storage does not know and that nobody accepted.
func (o *oracle) orphans() []string {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.orphansOf(t)
}

func (o *oracle) orphansOf(t *truth) []string {
	var orphans []string
	for _, u := range o.run.modal.ServiceUsers() {
		accepted := o.acceptedOrphans[u.Name] || slices.Contains(t.acceptedOrphans, u.Name) // storage also knows accepted orphans whose answer was lost
		if strings.HasPrefix(u.Name, prefix) && u.Workspace == home && time.Since(u.Created) > orphanMinAge && !accepted && !t.tracks(u.Name, u.TokenID) {
			orphans = append(orphans, u.Name)
		}
	}
	return orphans
}

// deletionsCount is how long a service user that this process deleted may still be listed without an alarm.
const deletionsCount = 10 * time.Minute

// orphansWritten expects the mount to become out of sync only if Vault does not track some service user. A process that
// started a short time ago does not know earlier deletions.
func (o *oracle) orphansWritten(t *truth, before bool) {
	if before || !t.outOfSync || o.awaitsDecision || o.run.clockSpread() > 0 || time.Since(o.run.leader.started) < 2*deletionsCount {
		return
	}
	for _, u := range o.run.modals.ServiceUsers() {
		if strings.HasPrefix(u.Name, prefix) && o.tracker(t, u.Name) == "" {
			return
		}
	}
	for _, op := range o.run.running() {
		if op.what == "end orphans" || op.what == "accept orphans" {
			return // Vault has begun to track an orphan after the comparison
		}
	}
	o.run.broken("the mount says that it is out of sync, but Vault tracks every service user")
}

// copyCreated records a service user that a copy of the mount created.
func (o *oracle) copyCreated(name string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.untracked[name], o.awaitsDecision = true, true
}

// operatorDecided records an operator's decision about orphans. From now on the mount may delete again.
func (o *oracle) operatorDecided(t CleanupRequest) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.awaitsDecision = false
	if !t.Accept {
		for _, name := range t.Names {
			delete(o.acceptedOrphans, name)
			o.mustLive[name], o.excusedUsers[name] = false, true // even if another request still accepts the orphan
		}
	}
}

// checkCleanup judges the answer to a clean-up of orphans.
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

// checkOrphanList expects that Vault tracks no listed orphan. If no fault is active, the list must be complete.
func (o *oracle) checkOrphanList(names []string, op *operation) {
	t := o.run.disk.truth()
	alone := o.run.ranAlone(op)
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, name := range names {
		if what := o.tracker(t, name); what != "" && alone {
			o.run.broken("the engine calls %s an orphan, but it belongs to %s", name, what)
		}
	}
	if !alone || o.run.clockSpread() > 0 || t.server != o.run.modal.URL() || t.admin.Identity != o.run.owner.Username() || o.run.conditions.AdminTrouble || o.run.conditions.ListLags {
		return
	}
	for _, name := range o.orphansOf(t) {
		if !slices.Contains(names, name) {
			o.run.broken("Vault does not track %s, but the engine does not list it as an orphan", name)
		}
	}
}

// tracker says what Vault tracks a service user for, or returns "" if the service user may be an orphan.
func (o *oracle) tracker(t *truth, name string) string {
	for _, role := range t.names() {
		if current := t.current[role]; current.IdentityType == "service_user" && current.Identity == name {
			return "role " + role
		}
	}
	if revocation, known := t.revocationOfUser(name); known && !o.usedAfterCreation(revocation) {
		return "revocation " + revocation.key
	}
	return ""
}

// usedAfterCreation reports whether the service user of an unfinished creation was used later than the creation itself
// needs. Storage is then older than Modal's data, and the engine lists the service user as an orphan.
func (o *oracle) usedAfterCreation(revocation storedRevocation) bool {
	const creationTakes = 2 * time.Minute
	users := o.run.modals.ServiceUsers()
	at := slices.IndexFunc(users, func(u modaltest.ServiceUserInfo) bool { return u.Name == revocation.Identity })
	return revocation.Reason == "unfinished" && at >= 0 && users[at].LastUsed.Sub(users[at].Created) > creationTakes
}

// checkAcceptedOrphans expects an accepted orphan to live until an operator names it for deletion.
func (o *oracle) checkAcceptedOrphans() {
	users := o.run.modals.ServiceUsers()
	for _, name := range slices.Sorted(maps.Keys(o.mustLive)) {
		at := slices.IndexFunc(users, func(u modaltest.ServiceUserInfo) bool { return u.Name == name })
		if o.mustLive[name] && at < 0 && !o.excusedUsers[name] {
			o.run.broken("an operator accepted the orphan %s, but it is gone", name)
		}
	}
}

// checkBackgroundCalls checks the calls that the mount made by itself. It must do nothing while it is paused, and
// delete nothing while it is out of sync. before is the content of storage before these calls.
func (o *oracle) checkBackgroundCalls(what string, before *truth, calls []modaltest.Call) {
	o.mu.Lock()
	defer o.mu.Unlock()
	blocked := o.awaitsDecision && o.run.clockSpread() == 0 && !o.run.conditions.AdminTrouble && len(o.orphansOf(before)) > 0 &&
		before.server == o.run.modal.URL() && before.admin.Workspace == home && !before.limited && o.run.modals.Accepts(before.admin.ID, before.admin.Secret)
	for _, call := range calls {
		user, known := o.userNames[call.Target]
		revocation, waits := before.revocationOfUser(user)
		read := what == "read lease" // a read may create service users, and delete the ones that it created
		if before.paused && slices.Contains([]string{"ServiceUserCreate", "ServiceUserDelete", "EnvironmentRoleSet"}, call.Method) &&
			(!read || (call.Method == "ServiceUserDelete" && known && waits)) {
			o.run.broken("the mount is paused, but %s called %s for %s", what, call.Method, call.Target)
		}
		token, waiting := before.revocationOfToken(call.Target)
		if call.Method == "TokenDelete" && before.outOfSync && blocked && waiting && !token.Forced && token.Reason != "approved" {
			o.run.broken("the mount is out of sync, but %s asked Modal to delete token %s (%s)", what, call.Target, token.Reason)
		}
		if !blocked || call.Method != "ServiceUserDelete" || call.Code == codes.Unauthenticated { // an expired admin token sees no orphans and deletes nothing
			continue
		}
		if known && waits && !revocation.Forced {
			o.run.broken("no operator has decided about the orphans %s, but %s deleted service user %s (%s)", strings.Join(o.orphansOf(before), ", "), what, user, revocation.Reason)
		}
	}
	if o.awaitsDecision && blocked {
		o.run.report.count("the mount is out of sync: " + what)
	}
	if before.paused {
		o.run.report.count("the mount is paused: " + what)
	}
}
