// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"slices"
	"testing/synctest"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// openFlows returns the flows that a person may still decide on. awaited are the flows that the engine waits for.
func (run *Run) openFlows() (awaited, late []string) {
	open := map[string]bool{}
	for _, a := range run.disk.truth().approvals {
		open[a.Flow] = a.State == "waiting"
	}
	for _, f := range run.modals.Flows() {
		_, known := run.oracle.requestOf(f.ID)
		switch {
		case !known || f.State != modaltest.FlowWaiting:
		case open[f.ID]:
			awaited = append(awaited, f.ID)
		default:
			late = append(late, f.ID)
		}
	}
	return awaited, late
}

// decide lets a person decide on a flow. The person may be the wrong one, or too late.
func (run *Run) decide() {
	if run.leavesOut() {
		return
	}
	flows, late := run.openFlows()
	if len(flows) == 0 || run.roll("late", 8) == 7 {
		flows = late
	}
	if len(flows) == 0 {
		return
	}
	flow := flows[run.roll("flow", len(flows))]
	who := []*modaltest.Member{run.owner, run.owner, run.owner, run.owner, run.owner, run.colleague, run.otherWorkspaceOwner, nil}[run.roll("who", 8)]
	request, _ := run.oracle.requestOf(flow)
	if run.otherModal.URL() == run.modals.Of(flow).URL() && who != nil {
		who = run.otherModalOwner
	}
	if run.conditions.LateToLearn && run.conditions.Often > 0 && run.roll("late to learn", 2) == 1 {
		run.modal.RefuseNewTokensFor(run.drawDuration("late", 20*time.Second, 5*time.Minute))
		defer run.sleepAndWait(2 * time.Minute)
	}
	run.maybePlanCut(8)
	if who == nil {
		run.logf("a person denies the approval for %q", request.role)
		run.report.count("a person denies")
		run.modals.Deny(flow)
		run.waitForEffects()
		return
	}
	fits := run.mustBeUsed(flow, request, who)
	token, _ := run.modals.Approve(flow, who)
	run.logf("%s approves token %s for %q, must become current: %t", who.Username(), token.ID, request.role, fits)
	run.report.count("a person approves: " + run.approverKind(who, request))
	run.waitForEffects()
	if !fits {
		return
	}
	run.sleepAndWait(5 * time.Second)
	if t := run.disk.truth(); !t.isCurrent(token.ID) {
		run.broken("the right person approved token %s for %q, but it is not current: %s", token.ID, request.role, t.approvals[approvalKey(request.role)].Reason)
	}
}

func (run *Run) approverKind(who *modaltest.Member, request approvalRequest) string {
	switch {
	case who == run.otherWorkspaceOwner:
		return "in another workspace"
	case who == run.colleague && request.role == "":
		return "not a manager"
	case who == run.colleague:
		return "another user"
	case who == run.otherModalOwner:
		return "at the other server"
	}
	return "the right person"
}

// waitForEffects waits until all effects of a person's action have happened. Otherwise their order would be random.
func (run *Run) waitForEffects() {
	synctest.Wait()
	run.restartDeadNode()
	run.check()
}

func (run *Run) sleepAndWait(d time.Duration) {
	time.Sleep(d)
	run.waitForEffects()
}

// mustBeUsed reports whether nothing prevents the token of the coming approval from becoming current.
func (run *Run) mustBeUsed(flow string, request approvalRequest, who *modaltest.Member) bool {
	t := run.disk.truth()
	approval := t.approvals[approvalKey(request.role)]
	if !run.conditions.faultFree() || run.conditions.Overlap || run.clockSpread() > 0 || len(run.running()) > 0 ||
		approval.Flow != flow || approval.State != "waiting" || time.Until(approval.Lapses) < 10*time.Second {
		return false
	}
	if of := run.workspaceOf(who); t.pinned != "" && t.pinned != of && (of != home || t.pinned != run.workspace.ID()) {
		return false
	}
	before := t.current[request.role]
	if request.role == "" {
		before = t.admin
		if t.server != run.modals.Of(flow).URL() || (who == run.colleague && !t.limited && !request.force && before.ID != "") {
			return false
		}
	}
	return request.force || before.ID == "" || run.oracle.belongsTo(before, who, request.role == "")
}

// requestOf returns the approval request of a flow, if the engine announced the flow.
func (o *oracle) requestOf(id string) (request approvalRequest, known bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	request, known = o.requests[id]
	return request, known
}

// workspaceOf returns the name of a person's workspace.
func (run *Run) workspaceOf(who *modaltest.Member) string {
	return map[*modaltest.Member]string{run.owner: home, run.colleague: home, run.otherWorkspaceOwner: "initech", run.otherModalOwner: "globex"}[who]
}

// belongsTo reports whether a verified token belongs to a person, or to that person's workspace.
func (o *oracle) belongsTo(t storedToken, who *modaltest.Member, workspace bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	owner := o.owners[t.ID]
	return !t.Verified.IsZero() && owner.workspace == o.run.workspaceOf(who) && (workspace || owner.owner == who.Username())
}

// toggleToken disables a member token, or enables a disabled one.
func (run *Run) toggleToken() {
	tokens := slices.DeleteFunc(run.modals.Tokens(), func(t modaltest.TokenInfo) bool { return t.Kind != modaltest.KindMember })
	if disabled := slices.DeleteFunc(slices.Clone(tokens), func(t modaltest.TokenInfo) bool { return !t.Disabled }); len(disabled) > 0 && run.roll("enable", 2) == 1 {
		tokens = disabled
	}
	if len(tokens) == 0 {
		return
	}
	victim := tokens[run.roll("victim", len(tokens))]
	run.logf("somebody changes token %s of %s: disabled is %t", victim.ID, victim.Owner, !victim.Disabled)
	run.oracle.tokenToggled(victim.ID)
	run.modals.SetDisabled(victim.ID, !victim.Disabled)
	run.report.count(map[bool]string{true: "a member's token is enabled", false: "a member's token is disabled"}[victim.Disabled])
}
