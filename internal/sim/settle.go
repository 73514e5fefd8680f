// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// longestGrace is the most that operators of a life write.
const longestGrace = 3 * day

// longestHold is the longest that operators of a life have a token that is used live on.
const longestExtension = day + time.Minute

// settle ends all troubles, gives the mount days of ticks, and expects it to have put everything in order.
func (run *Run) settle() {
	if !run.conditions.faultFree() {
		[]func(){func() {}, run.changeRolesByHand, run.deleteCurrentByHand}[roll(run.rt, "a person's last deed", 3)]()
		run.waitForEffects()
	}
	run.logf("all troubles end")
	run.modal.ClearFaults()
	run.setLateWork(lateWork{})
	run.leader.handle.clearFaults()
	run.waitForAll()
	run.restartDeadNode()
	run.owner.SetRole("owner")
	run.setSkew("A", 0)
	run.setSkew("B", 0)
	if run.former != nil {
		run.former.stop()
		run.former = nil
	}
	run.conditions.Overlap, run.conditions.CallersLeave = false, false
	run.resetConfig()
	run.cleanUpOrphans()
	run.liftRestrictions() // by what a person approved just before
	before := run.disk.truth()
	began := time.Now()
	for _, what := range run.oracle.unhealthyRoles() {
		run.report.count("healed: " + what[strings.IndexByte(what, ' ')+1:])
	}
	run.ticks(90, time.Minute)
	run.liftRestrictions() // by an approval that was begun before, and is over by now
	run.ticks(14, 30*time.Minute)
	run.checkRotatedOnce(before, began)
	run.ticks(30, 2*time.Hour)
	if unhealthy := run.oracle.unhealthyRoles(); len(unhealthy) > 0 {
		run.broken("two days and more after all troubles ended roles are not healed: %v", unhealthy)
	}
	run.ticks(40, 2*time.Hour)
	run.checkSettled()
}

func (run *Run) liftRestrictions() {
	if run.isRestricted() {
		run.resetConfig()
	}
}

// tidy is an operator's word on what a restored snapshot knows nothing of. Until then the mount ends
// nothing by itself.
func (run *Run) cleanUpOrphans() {
	time.Sleep(orphanMinAge) // what is younger is nobody's yet
	run.liftRestrictions()      // by what was approved meanwhile
	run.oracle.operatorDecided(CleanupRequest{})
	if _, err := run.leader.engine.CleanUpOrphans(run.leader.ctx, CleanupRequest{}); err != nil {
		run.broken("orphans cannot be tidied: %v", err)
	}
}

func (run *Run) ticks(times int, every time.Duration) {
	for range times {
		run.passTime(every)
	}
}

// checkRotatedOnce expects each role that was overdue to have rotated once, and none twice.
func (run *Run) checkRotatedOnce(before *truth, began time.Time) {
	after := run.disk.truth()
	for _, role := range before.names() {
		policy, cred := before.roles[role], before.current[role]
		if policy.Managed == nil || policy.Managed.Disabled || run.isElsewhere(cred) || after.roles[role].Managed == nil {
			continue
		}
		rotations := after.current[role].Version - cred.Version
		overdue := !cred.Next.IsZero() && !cred.Next.After(began)
		if overdue && rotations == 0 {
			run.broken("role %s is overdue since %s and was not rotated: %s", role, cred.Next.Format(time.DateTime), after.current[role].LastError)
		}
		most := int64(1)
		if policy.Managed.Schedule != "" {
			most = 2 // it may fire in these hours too
		}
		if !run.modals.Accepts(cred.ID, cred.Secret) {
			most++ // it may be healed too
		}
		if rotations > most {
			run.broken("role %s rotated %d times in hours", role, rotations)
		}
	}
	run.check()
}

// checkSettled expects nothing to be left that only waits for the engine.
func (run *Run) checkSettled() {
	t := run.disk.truth()
	now := time.Now()
	for _, rev := range t.revocations {
		// A member's token needs no admin token to end itself, wherever it is.
		if run.keepsPrevious(t, rev.Role) || (run.isElsewhere(rev.storedToken) && rev.IdentityType != "user") {
			continue
		}
		if rev.NotBefore.After(now.Add(longestGrace + day)) {
			run.broken("the entry %s of role %s waits until %s, as a wrong clock dated it", rev.key, rev.Role, rev.NotBefore.Format(time.DateTime))
		}
		due := rev.NotBefore
		if rev.HoldUntil.After(due) && rev.HoldUntil.Before(due.Add(longestExtension)) {
			due = rev.HoldUntil
		}
		if rev.Method == "manual" || now.Before(due.Add(6*time.Hour)) || run.isDisabled(rev.ID) {
			continue
		}
		run.broken("after days without a fault the ledger still holds %s %s (%s): %s", rev.key, ofRole(rev.Role), rev.Reason, rev.LastError)
	}
	for _, key := range slices.Sorted(maps.Keys(t.approvals)) {
		if a := t.approvals[key]; a.Open {
			run.broken("after days without a fault the approval %s is still %s, and open", key, a.State)
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
		// A role that only a person rotates may be overdue. Where nothing is wrong and nothing due, none fails.
		managed := t.roles[role].Managed
		late := state == "overdue" && managed != nil && !managed.Disabled
		if (late || state == "failing") && !run.isElsewhere(t.current[role]) {
			run.broken("after days without a fault role %s is %s: %s", role, state, t.current[role].LastError)
		}
		got, err := run.leader.engine.Read(run.leader.ctx, role)
		if err != nil || got == nil {
			run.broken("after days without a fault role %s cannot be read: %v", role, err)
			continue
		}
		run.oracle.checkServed(role, got, run.spec)
	}
	run.oracle.checkExpiries()
	if diverged, err := run.leader.engine.OutOfSync(run.leader.ctx); err != nil || diverged {
		run.broken("orphans were tidied, and the mount is out of sync: %t, %v", diverged, err)
	}
	run.check()
}

// isDisabled reports whether somebody disabled a token: only a person, or a token of the same person, ends it then.
func (run *Run) isDisabled(id string) bool {
	return slices.ContainsFunc(run.modals.Tokens(), func(t modaltest.TokenInfo) bool { return t.ID == id && t.Disabled })
}

// isAway says that a token belongs to another server or workspace than the one that the last admin token
// is of: the engine cannot manage it.
func (run *Run) isElsewhere(t storedToken) bool {
	return (t.Server != "" && t.Server != run.modal.URL()) || (t.Workspace != "" && t.Workspace != home)
}

// keepsEarlier says that a role has no working token, through no fault of the engine, and so keeps its
// earlier ones.
func (run *Run) keepsPrevious(t *truth, role string) bool {
	current, exists := t.current[role]
	if !exists || run.modals.AcceptsAt(current.Server, current.ID, current.Secret) { // one stored unverified may be of another server
		return false
	}
	policy := t.roles[role]
	return policy.Managed == nil || policy.Managed.Disabled || run.isElsewhere(current)
}

// served expects a reader's token to work at the end, unless it was taken from the engine's hands.
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
		o.run.broken("after days without a fault the reader of role %s is not served: Modal refuses %s", role, got.ID)
	}
}
