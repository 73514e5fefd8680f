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
const longestHold = day + time.Minute

// settle ends all troubles, gives the mount days of ticks, and expects it to have put everything in order.
func (l *Life) settle() {
	if !l.climate.calm() {
		[]func(){func() {}, l.drift, l.bereave}[roll(l.rt, "a person's last deed", 3)]()
		l.calmDown()
	}
	l.note("all troubles end")
	l.modal.ClearFaults()
	l.setLate(lateness{})
	l.leader.handle.heal()
	l.quiet()
	l.bury()
	l.owner.SetRole("owner")
	l.setSkew("A", 0)
	l.setSkew("B", 0)
	if l.former != nil {
		l.former.stop()
		l.former = nil
	}
	l.climate.Overlap, l.climate.CallersLeave = false, false
	l.configure()
	l.tidy()
	l.unhamper() // by what a person approved just before
	before := l.disk.truth()
	began := time.Now()
	for _, what := range l.oracle.ailing() {
		l.report.seen("healed: " + what[strings.IndexByte(what, ' ')+1:])
	}
	l.ticks(90, time.Minute)
	l.unhamper() // by an approval that was begun before, and is over by now
	l.ticks(14, 30*time.Minute)
	l.checkRotatedOnce(before, began)
	l.ticks(30, 2*time.Hour)
	if ill := l.oracle.ailing(); len(ill) > 0 {
		l.broken("two days and more after all troubles ended roles are not healed: %v", ill)
	}
	l.ticks(40, 2*time.Hour)
	l.checkSettled()
}

func (l *Life) unhamper() {
	if l.hampered() {
		l.configure()
	}
}

// tidy is an operator's word on what a restored snapshot knows nothing of. Until then the mount ends
// nothing by itself.
func (l *Life) tidy() {
	time.Sleep(young) // what is younger is nobody's yet
	l.unhamper()      // by what was approved meanwhile
	l.oracle.says(Tidying{})
	if _, err := l.leader.engine.Tidy(l.leader.ctx, Tidying{}); err != nil {
		l.broken("orphans cannot be tidied: %v", err)
	}
}

func (l *Life) ticks(times int, every time.Duration) {
	for range times {
		l.pass(every)
	}
}

// checkRotatedOnce expects each role that was overdue to have rotated once, and none twice.
func (l *Life) checkRotatedOnce(before *truth, began time.Time) {
	after := l.disk.truth()
	for _, role := range before.names() {
		policy, cred := before.roles[role], before.current[role]
		if policy.Managed == nil || policy.Managed.Disabled || l.isAway(cred) || after.roles[role].Managed == nil {
			continue
		}
		rotations := after.current[role].Version - cred.Version
		overdue := !cred.Next.IsZero() && !cred.Next.After(began)
		if overdue && rotations == 0 {
			l.broken("role %s is overdue since %s and was not rotated: %s", role, cred.Next.Format(time.DateTime), after.current[role].LastError)
		}
		most := int64(1)
		if policy.Managed.Schedule != "" {
			most = 2 // it may fire in these hours too
		}
		if !l.modals.Accepts(cred.ID, cred.Secret) {
			most++ // it may be healed too
		}
		if rotations > most {
			l.broken("role %s rotated %d times in hours", role, rotations)
		}
	}
	l.check()
}

// checkSettled expects nothing to be left that only waits for the engine.
func (l *Life) checkSettled() {
	t := l.disk.truth()
	now := time.Now()
	for _, e := range t.ledger {
		// A member's token needs no admin token to end itself, wherever it is.
		if l.keepsEarlier(t, e.Role) || (l.isAway(e.storedToken) && e.IdentityType != "user") {
			continue
		}
		if e.NotBefore.After(now.Add(longestGrace + day)) {
			l.broken("the entry %s of role %s waits until %s, as a wrong clock dated it", e.key, e.Role, e.NotBefore.Format(time.DateTime))
		}
		due := e.NotBefore
		if e.HoldUntil.After(due) && e.HoldUntil.Before(due.Add(longestHold)) {
			due = e.HoldUntil
		}
		if e.Method == "manual" || now.Before(due.Add(6*time.Hour)) || l.isDisabled(e.ID) {
			continue
		}
		l.broken("after days without a fault the ledger still holds %s %s (%s): %s", e.key, ofRole(e.Role), e.Reason, e.LastError)
	}
	for _, key := range slices.Sorted(maps.Keys(t.approvals)) {
		if a := t.approvals[key]; a.Open {
			l.broken("after days without a fault the approval %s is still %s, and open", key, a.State)
		}
	}
	for _, role := range t.names() {
		if t.roles[role].Managed == nil && t.current[role].ID == "" {
			continue
		}
		state, err := l.leader.engine.State(l.leader.ctx, role)
		if err != nil {
			l.broken("the state of role %s cannot be read: %v", role, err)
		}
		// A role that only a person rotates may be overdue. Where nothing is wrong and nothing due, none fails.
		managed := t.roles[role].Managed
		late := state == "overdue" && managed != nil && !managed.Disabled
		if (late || state == "failing") && !l.isAway(t.current[role]) {
			l.broken("after days without a fault role %s is %s: %s", role, state, t.current[role].LastError)
		}
		got, err := l.leader.engine.Read(l.leader.ctx, role)
		if err != nil || got == nil {
			l.broken("after days without a fault role %s cannot be read: %v", role, err)
			continue
		}
		l.oracle.served(role, got, l.spec)
	}
	l.oracle.checkExpiries()
	if diverged, err := l.leader.engine.OutOfSync(l.leader.ctx); err != nil || diverged {
		l.broken("orphans were tidied, and the mount is out of sync: %t, %v", diverged, err)
	}
	l.check()
}

// isDisabled reports whether somebody disabled a token: only a person, or a token of the same person, ends it then.
func (l *Life) isDisabled(id string) bool {
	return slices.ContainsFunc(l.modals.Tokens(), func(t modaltest.TokenInfo) bool { return t.ID == id && t.Disabled })
}

// isAway says that a token belongs to another server or workspace than the one that the last admin token
// is of: the engine cannot manage it.
func (l *Life) isAway(t storedToken) bool {
	return (t.Server != "" && t.Server != l.modal.URL()) || (t.Workspace != "" && t.Workspace != home)
}

// keepsEarlier says that a role has no working token, through no fault of the engine, and so keeps its
// earlier ones.
func (l *Life) keepsEarlier(t *truth, role string) bool {
	current, exists := t.current[role]
	if !exists || l.modals.Accepts(current.ID, current.Secret) {
		return false
	}
	policy := t.roles[role]
	return policy.Managed == nil || policy.Managed.Disabled || l.isAway(current)
}

// served expects a reader's token to work at the end, unless it was taken from the engine's hands.
func (o *oracle) served(role string, got *Handout, spec Spec) {
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	policy := t.roles[role]
	switch told := o.of(got.ID); {
	case o.l.modals.Accepts(got.ID, got.Secret):
	case policy.Managed == nil || policy.Managed.Disabled || o.l.isAway(t.current[role]):
	case told.excuse != "" && !spec.Heals:
	default:
		o.l.broken("after days without a fault the reader of role %s is not served: Modal refuses %s", role, got.ID)
	}
}
