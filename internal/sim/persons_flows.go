// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"slices"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// waiting are the flows whose page somebody was told of and may still decide on, those first that the
// engine waits for.
func (l *Life) waiting() (awaited, late []string) {
	open := map[string]bool{}
	for _, a := range l.disk.truth().approvals {
		open[a.Flow] = a.State == "waiting"
	}
	for _, f := range l.modals.Flows() {
		_, told := l.oracle.flow(f.ID)
		switch {
		case !told || f.State != modaltest.FlowWaiting:
		case open[f.ID]:
			awaited = append(awaited, f.ID)
		default:
			late = append(late, f.ID)
		}
	}
	return awaited, late
}

// decide has a person decide on a flow: whoever should, somebody else, or too late.
func (l *Life) decide() {
	flows, late := l.waiting()
	if len(flows) == 0 || roll(l.rt, "late", 8) == 7 {
		flows = late
	}
	if len(flows) == 0 {
		return
	}
	flow := flows[roll(l.rt, "flow", len(flows))]
	who := []*modaltest.Member{l.owner, l.owner, l.owner, l.owner, l.owner, l.colleague, l.rival, nil}[roll(l.rt, "who", 8)]
	a, _ := l.oracle.flow(flow)
	if l.elsewhere.URL() == l.modals.Of(flow).URL() && who != nil {
		who = l.stranger
	}
	if l.climate.LateToLearn && l.climate.Often > 0 && roll(l.rt, "late to learn", 2) == 1 {
		l.modal.RefuseNewTokensFor(l.duration("late", 20*time.Second, 5*time.Minute))
		defer l.pause(2 * time.Minute)
	}
	l.cutsHere(8)
	if who == nil {
		l.note("somebody denies what was to be approved for %q", a.role)
		l.report.seen("a person denies")
		l.modals.Deny(flow)
		l.calmDown()
		return
	}
	fits := l.mustBeUsed(flow, a, who)
	token, _ := l.modals.Approve(flow, who)
	l.note("%s approves token %s for %q, and it must be used: %t", who.Username(), token.ID, a.role, fits)
	l.report.seen("a person approves: " + l.whoIs(who, a))
	l.calmDown()
	if !fits {
		return
	}
	l.pause(5 * time.Second)
	if t := l.disk.truth(); !t.inUse(token.ID) {
		l.broken("token %s was approved for %q as it should be, and is not used: %s", token.ID, a.role, t.approvals[approvalKey(a.role)].Said)
	}
}

func (l *Life) whoIs(who *modaltest.Member, a asked) string {
	switch {
	case who == l.rival:
		return "in another workspace"
	case who == l.colleague && a.role == "":
		return "no manager"
	case who == l.colleague:
		return "another user"
	case who == l.stranger:
		return "elsewhere"
	}
	return "as they should"
}

// calmDown lets everything happen that a person's deed sets off, or it would be luck what comes first.
func (l *Life) calmDown() {
	synctest.Wait()
	l.bury()
	l.check()
}

func (l *Life) pause(d time.Duration) {
	time.Sleep(d)
	l.calmDown()
}

// mustBeUsed says that nothing keeps the token that somebody is about to approve from use.
func (l *Life) mustBeUsed(flow string, a asked, who *modaltest.Member) bool {
	t := l.disk.truth()
	approval := t.approvals[approvalKey(a.role)]
	if !l.climate.calm() || l.climate.Overlap || l.doubt() > 0 || len(l.running()) > 0 ||
		approval.Flow != flow || approval.State != "waiting" || time.Until(approval.Lapses) < 10*time.Second {
		return false
	}
	before := t.current[a.role]
	if a.role == "" {
		before = t.admin
		if t.server != l.modals.Of(flow).URL() || (who == l.colleague && !t.limited && !a.force && before.ID != "") {
			return false
		}
	}
	return a.force || before.ID == "" || l.oracle.isOf(before, who, a.role == "")
}

// flow is what a flow was begun for, where the engine told of it.
func (o *oracle) flow(id string) (a asked, told bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	a, told = o.asked[id]
	return a, told
}

// isOf says that a proven token is of a person, or of their workspace.
func (o *oracle) isOf(t storedToken, who *modaltest.Member, workspace bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	its := o.whose[t.ID]
	of := map[*modaltest.Member]string{o.l.owner: home, o.l.colleague: home, o.l.rival: "initech", o.l.stranger: "globex"}[who]
	return !t.Verified.IsZero() && its.workspace == of && (workspace || its.owner == who.Username())
}

// toggle disables a member's token, or enables one that is disabled.
func (l *Life) toggle() {
	tokens := slices.DeleteFunc(l.modals.Tokens(), func(t modaltest.TokenInfo) bool { return t.Kind != modaltest.KindMember })
	if disabled := slices.DeleteFunc(slices.Clone(tokens), func(t modaltest.TokenInfo) bool { return !t.Disabled }); len(disabled) > 0 && roll(l.rt, "enable", 2) == 1 {
		tokens = disabled
	}
	if len(tokens) == 0 {
		return
	}
	victim := tokens[roll(l.rt, "victim", len(tokens))]
	l.note("somebody changes token %s of %s: disabled is %t", victim.ID, victim.Owner, !victim.Disabled)
	l.oracle.toggle(victim.ID)
	l.modals.SetDisabled(victim.ID, !victim.Disabled)
	l.report.seen(map[bool]string{true: "a member's token is enabled", false: "a member's token is disabled"}[victim.Disabled])
}
