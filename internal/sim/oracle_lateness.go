// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"cmp"
	"time"
)

const (
	// calmAfter is how long after the last trouble the engine must be on time again. Back-off waits six hours at most.
	calmAfter = 7 * time.Hour
	// tickGrain is the tolerance for work that becomes due while a tick starts.
	tickGrain = 5 * time.Second
	// fullTick is the duration of a tick that may leave work to the next one.
	fullTick = 30 * time.Second
)

// noteTrouble records that something may delay the engine now: a fault, a restriction in config, or a person's act.
func (run *Run) noteTrouble() {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.trouble = time.Now()
}

// isTroubled reports whether something may delay the engine now.
func (run *Run) isTroubled() bool {
	t := run.disk.truth()
	return (run.conditions.Often > 0 && run.stepNumber != lastStep) || run.down || run.weakAdmin || run.conditions.CallersLeave ||
		run.isRestricted() || run.oracle.mayBlockDeletions() || t.outOfSync || run.clockSpread() > 0 || run.leader.handle.isDead() ||
		!run.modals.Accepts(t.admin.ID, t.admin.Secret)
}

// checkLateness expects a tick to have done everything that was due when it began, unless there was trouble in the
// hours before. before is the content of storage when the tick began.
func (run *Run) checkLateness(before *truth, began time.Time) {
	lastTick := run.lastTick
	run.lastTick = began
	// If the admin token was limited, the tick that verifies it may have tried a revocation before.
	if run.isTroubled() || before.limited || len(run.running()) > 0 {
		run.noteTrouble()
		return
	}
	if time.Since(run.trouble) < calmAfter || time.Since(began) > fullTick {
		return
	}
	o := run.oracle
	o.mu.Lock()
	defer o.mu.Unlock()
	t, due := run.disk.truth(), began.Add(-tickGrain)
	for _, revocation := range before.revocations {
		o.checkEndedByNow(before, t, revocation, due)
	}
	for _, role := range before.names() {
		o.checkRotatedByNow(before, t, role, due)
		o.checkVerifiedByNow(before, t, role, due)
	}
	if at := later(before.adminChecked, before.admin.Verified); before.verification > 0 && before.admin.ID == t.admin.ID && at.Add(before.verification).Before(due) {
		run.report.count("on time: the admin token is verified")
		if !later(t.adminChecked, t.admin.Verified).After(at) {
			run.broken("the admin token %s was last verified at %s, and verification_interval is %s, but a tick did not verify it", t.admin.ID, at.Format(time.DateTime), before.verification)
		}
	}
	for key, approval := range before.approvals {
		if !approval.Open && approval.Lapses.After(lastTick) && approval.Lapses.Before(began) {
			run.report.count("on time: an approval ends")
		}
		// A tick only wakes the approval, which ends a moment later.
		if approval.Open && approval.Lapses.Before(lastTick) {
			if now := t.approvals[key]; now.Open && now.Flow == approval.Flow {
				run.broken("the approval %s should have ended at %s, but it is still open after a tick", key, approval.Lapses.Format(time.DateTime))
			}
		}
	}
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// checkEndedByNow expects the token of a due revocation to have ended.
func (o *oracle) checkEndedByNow(before, t *truth, revocation storedRevocation, due time.Time) {
	run := o.run
	at := later(later(revocation.NotBefore, revocation.HoldUntil), revocation.NextAttempt)
	if revocation.Method != "automatic" || !at.Before(due) || revocation.Reason == "unfinished" || !revocation.FirstRejectedAt.IsZero() ||
		before.isCurrent(revocation.ID) || run.lacksCA(revocation.storedToken) || o.hasRejectedToken(before, revocation.Role) || o.record(revocation.ID).wasToggled || o.record(revocation.ID).excuse != "" ||
		(run.isElsewhere(revocation.storedToken) && revocation.IdentityType != "user") {
		return
	}
	run.report.count("on time: a token ends")
	for _, left := range t.revocations {
		doubted := !left.FirstRejectedAt.IsZero() || (revocation.FirstNotFoundAt.IsZero() && !left.FirstNotFoundAt.IsZero())
		if left.key == revocation.key && !doubted {
			run.broken("token %s %s should have ended at %s, but it is still in the revocation queue after a tick: %s", left.ID, ofRole(left.Role), at.Format(time.DateTime), left.LastError)
		}
	}
}

// hasRejectedToken reports whether Modal rejects the role's current token. The engine then keeps the previous tokens.
func (o *oracle) hasRejectedToken(t *truth, role string) bool {
	current, exists := t.current[role]
	return exists && current.ID != "" && !o.run.modals.AcceptsAt(cmp.Or(current.Server, t.server), current.ID, current.Secret)
}

// checkRotatedByNow expects a role that was due to have rotated.
func (o *oracle) checkRotatedByNow(before, t *truth, role string, due time.Time) {
	policy, was, is := before.roles[role].Managed, before.current[role], t.current[role]
	if policy == nil || policy.Disabled || policy.Window > 0 || was.Next.IsZero() || !was.Next.Before(due) || o.run.isElsewhere(was) || is.ID == "" {
		return
	}
	o.run.report.count("on time: a role rotates")
	if is.Version == was.Version {
		o.run.broken("role %s should have rotated at %s, but a tick did not rotate it: %s", role, was.Next.Format(time.DateTime), is.LastError)
	}
}

// checkVerifiedByNow expects the current token of a role to be verified once in each verification interval.
func (o *oracle) checkVerifiedByNow(before, t *truth, role string, due time.Time) {
	was, is := before.current[role], t.current[role]
	at := later(later(was.Checked, was.Verified), was.LastRotation)
	if before.verification == 0 || was.ID == "" || was.Verified.IsZero() || was.ID != is.ID || was.Version != is.Version || o.run.isElsewhere(was) || !at.Add(before.verification).Before(due) {
		return
	}
	o.run.report.count("on time: a role's token is verified")
	if !later(is.Checked, is.Verified).After(at) {
		o.run.broken("token %s of role %s was last verified at %s, and verification_interval is %s, but a tick did not verify it", is.ID, role, at.Format(time.DateTime), before.verification)
	}
}
