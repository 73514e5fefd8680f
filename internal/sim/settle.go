// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// longestGrace is the longest grace period that operators of a run write.
const longestGrace = 3 * day

// longestExtension is the longest time by which use can extend a token's life in a run.
const longestExtension = day + time.Minute

// settle stops all faults, gives the mount days of ticks, and then expects everything to be in order.
func (run *Run) settle() {
	if !run.conditions.faultFree() {
		[]func(){func() {}, run.changeRolesByHand, run.deleteCurrentByHand, run.changeExpiry}[run.roll("a person's last action", 4)]()
		run.waitForEffects()
	}
	run.logf("all faults stop")
	run.modal.ClearFaults()
	run.setLateWork(lateWork{})
	run.leader.handle.clearFaults()
	run.waitForAll()
	run.restartDeadNode()
	run.owner.SetRole("owner")
	run.down, run.weakAdmin = false, false
	run.noteTrouble()
	run.setSkew("A", 0)
	run.setSkew("B", 0)
	if run.former != nil {
		run.former.stop()
		run.former = nil
	}
	run.setOverlap(false)
	run.conditions.CallersLeave = false
	run.resetConfig()
	run.cleanUpOrphans()
	run.liftRestrictions() // a person may have approved a token just before
	before := run.disk.truth()
	began := time.Now()
	for _, what := range run.oracle.unhealthyRoles() {
		run.report.count("repaired: " + what[strings.IndexByte(what, ' ')+1:])
	}
	run.ticks(90, time.Minute)
	run.liftRestrictions() // an approval that started earlier has ended by now
	run.ticks(14, 30*time.Minute)
	run.checkRotatedOnce(before, began)
	run.ticks(30, 2*time.Hour)
	if unhealthy := run.oracle.unhealthyRoles(); len(unhealthy) > 0 {
		run.broken("more than two days after all faults stopped, the engine has not repaired these roles: %v", unhealthy)
	}
	run.ticks(40, 2*time.Hour)
	run.checkSettled()
}

func (run *Run) liftRestrictions() {
	if run.isRestricted() {
		run.resetConfig()
	}
}

// cleanUpOrphans deletes all orphans, as an operator does after a snapshot was restored. Until then the mount
// deletes nothing by itself.
func (run *Run) cleanUpOrphans() {
	time.Sleep(orphanMinAge) // a younger service user is not an orphan yet
	run.liftRestrictions()   // a token may have been approved meanwhile
	run.oracle.operatorDecided(CleanupRequest{})
	if _, err := run.leader.engine.CleanUpOrphans(run.leader.ctx, CleanupRequest{}); err != nil {
		run.broken("the orphans cannot be deleted: %v", err)
	}
}

func (run *Run) ticks(times int, every time.Duration) {
	for range times {
		run.passTime(every)
	}
}

// checkRotatedOnce expects each overdue role to have rotated once, and no role twice.
func (run *Run) checkRotatedOnce(before *truth, began time.Time) {
	after := run.disk.truth()
	for _, role := range before.names() {
		policy, cred := before.roles[role], before.current[role]
		if policy.Managed == nil || policy.Managed.Disabled || run.isElsewhere(cred) || after.roles[role].Managed == nil {
			continue
		}
		rotations := after.current[role].Version - cred.Version
		overdue := !cred.Next.IsZero() && !cred.Next.After(began) && !run.oracle.hasLaterExpiry(cred, after.current[role])
		if overdue && rotations == 0 && policy.Managed.Window == 0 { // a role with a window waits for its next scheduled time
			run.broken("role %s is overdue since %s, and the engine did not rotate it: %s", role, cred.Next.Format(time.DateTime), after.current[role].LastError)
		}
		most := int64(1)
		if policy.Managed.Schedule != "" {
			most = 2 // the schedule may also fire in these hours
		}
		if !run.modals.Accepts(cred.ID, cred.Secret) {
			most++ // the engine may also replace a rejected token
		}
		if rotations > most {
			run.broken("role %s rotated %d times in hours", role, rotations)
		}
	}
	run.check()
}

// checkSettled expects that no work of the engine is left.
func (run *Run) checkSettled() {
	t := run.disk.truth()
	now := time.Now()
	for _, rev := range t.revocations {
		// A member token deletes itself at any server and workspace, without an admin token.
		if run.lacksCA(rev.storedToken) || run.keepsPrevious(t, rev.Role) || (run.isElsewhere(rev.storedToken) && rev.IdentityType != "user") {
			continue
		}
		if rev.NotBefore.After(now.Add(longestGrace + day)) {
			run.broken("the revocation %s of role %s waits until %s: a wrong clock set this time", rev.key, rev.Role, rev.NotBefore.Format(time.DateTime))
		}
		due := rev.NotBefore
		if rev.HoldUntil.After(due) && rev.HoldUntil.Before(due.Add(longestExtension)) {
			due = rev.HoldUntil
		}
		if rev.Method == "manual" || now.Before(due.Add(6*time.Hour)) || run.isDisabled(rev.ID) {
			continue
		}
		run.broken("after days without a fault the revocation queue still has %s %s (%s): %s", rev.key, ofRole(rev.Role), rev.Reason, rev.LastError)
	}
	for _, key := range slices.Sorted(maps.Keys(t.approvals)) {
		if a := t.approvals[key]; a.Open {
			run.broken("after days without a fault the approval %s is still %s and open", key, a.State)
		}
	}
	for _, role := range t.names() {
		if t.roles[role].Managed == nil && t.current[role].ID == "" {
			continue
		}
		state, err := run.leader.engine.State(run.leader.ctx, role)
		if err != nil {
			run.broken("the state of role %s cannot be read: %v", role, err)
		}
		// A role that only a person rotates may be overdue. If no fault is active and no rotation is due, no role
		// fails.
		managed := t.roles[role].Managed
		late := state == "overdue" && managed != nil && !managed.Disabled
		waits := managed != nil && managed.Window > 0 // for its next scheduled time
		if (late || state == "failing") && !waits && !run.isElsewhere(t.current[role]) {
			run.broken("after days without a fault role %s is %s: %s", role, state, t.current[role].LastError)
		}
		got, err := run.leader.engine.Read(run.leader.ctx, role)
		if err != nil || got == nil {
			run.broken("after days without a fault role %s cannot be read: %v", role, err)
			continue
		}
		run.oracle.checkServed(role, got, run.spec)
	}
	run.checkIrrevocable()
	run.checkNeighborSettled()
	run.oracle.checkExpiries()
	if outOfSync, err := run.leader.engine.OutOfSync(run.leader.ctx); err != nil || outOfSync {
		run.broken("an operator deleted the orphans, and out of sync is still %t (%v)", outOfSync, err)
	}
	run.check()
}

// isDisabled reports whether somebody disabled a token. Then only a person or a token of the same person can delete
// it.
func (run *Run) isDisabled(id string) bool {
	return slices.ContainsFunc(run.modals.Tokens(), func(t modaltest.TokenInfo) bool { return t.ID == id && t.Disabled })
}

// isElsewhere reports whether the engine cannot manage a token, because the token belongs to another server or
// workspace than the last admin token.
func (run *Run) isElsewhere(t storedToken) bool {
	return (t.Server != "" && t.Server != run.modal.URL()) || (t.Workspace != "" && t.Workspace != home)
}

// lacksCA reports whether the engine does not trust the certificate of a token's server any more, because config has
// another ca_cert now.
func (run *Run) lacksCA(t storedToken) bool {
	return run.conditions.Secure && t.Server == run.otherModal.URL()
}

// keepsPrevious reports whether a role has no working token through no fault of the engine. The engine then keeps
// the role's previous tokens.
func (run *Run) keepsPrevious(t *truth, role string) bool {
	current, exists := t.current[role]
	if !exists || run.modals.AcceptsAt(current.Server, current.ID, current.Secret) { // an unverified token may belong to another server
		return false
	}
	policy := t.roles[role]
	return policy.Managed == nil || policy.Managed.Disabled || run.isElsewhere(current)
}

// checkServed expects a reader's token to work at the end, unless the engine could not replace it.
func (o *oracle) checkServed(role string, got *Credentials, spec Spec) {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	policy := t.roles[role]
	switch record := o.record(got.ID); {
	case o.run.modals.Accepts(got.ID, got.Secret):
	case policy.Managed == nil || policy.Managed.Disabled || o.run.isElsewhere(t.current[role]):
	case record.excuse != "" && !spec.Heals:
	default:
		o.run.broken("after days without a fault Modal rejects token %[2]s, which a reader of role %[1]s got", role, got.ID)
	}
}
