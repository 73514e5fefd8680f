// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"time"

	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// faultKind is a kind of fault at Modal.
type faultKind struct {
	name   string
	when   func(c conditions) bool
	inject func(run *Run)
}

var faultKinds = []faultKind{
	{"fails before the work", func(c conditions) bool { return c.ModalFails }, func(run *Run) {
		run.inject(modaltest.Fault{Code: run.drawCode(transientCodes), Message: "a fault"})
	}},
	{"answer lost after the work", func(c conditions) bool { return c.AnswersLost }, func(run *Run) {
		run.inject(modaltest.Fault{Code: run.drawCode(ambiguousCodes), Message: "a fault", AfterCommit: true})
	}},
	{"throttled", func(c conditions) bool { return c.Throttled }, func(run *Run) {
		wait := []time.Duration{time.Second, time.Hour}[run.roll("wait", 2)]
		run.inject(modaltest.Fault{Code: codes.ResourceExhausted, Message: "slow down", RetryAfter: wait, AfterCommit: run.roll("after the work", 4) == 3 && run.spec.ThrottleMayHideWork})
	}},
	{"slow", func(c conditions) bool { return c.Slow }, func(run *Run) {
		delay := []time.Duration{3 * time.Second, 14 * time.Second, time.Minute}[run.roll("delay", 3)]
		run.inject(modaltest.Fault{Delay: delay, AfterCommit: run.roll("after the work", 2) == 1})
	}},
	{"done late", func(c conditions) bool { return c.DoneLate }, func(run *Run) {
		late := lateWork{method: []string{"ServiceUserCreate", "EnvironmentRoleSet", "ServiceUserInfo", "ServiceUserDelete", "TokenDelete"}[run.roll("method", 5)], by: run.drawDuration("by", 20*time.Second, 90*time.Second, 4*time.Minute), times: 1 + run.roll("times", 2)}
		run.logf("  fault:  %d × %s is done %s late", late.times, late.method, late.by)
		run.setLateWork(late)
	}},
	{"outage", func(c conditions) bool { return c.Outages }, nil},
	{"late to learn", func(c conditions) bool { return c.LateToLearn }, func(run *Run) {
		late := []time.Duration{2 * time.Second, 20 * time.Second, 5 * time.Minute}[run.roll("late", 3)]
		run.logf("  fault:  Modal learns %s late", late)
		run.modal.RefuseNewTokensFor(late)
		run.modal.KeepDeletedFor(late)
	}},
	{"not yet known by its name", func(c conditions) bool { return c.NotYetKnown }, func(run *Run) {
		times := 1 + run.roll("times", 3)
		born := time.Now()
		run.logf("  fault:  %d × new service users are not found by name", times)
		// Only a new service user may be missing. During a creation, a call within the next minute is about a new
		// one.
		run.modal.Inject("ServiceUserInfo", modaltest.Fault{
			Code: codes.NotFound, Message: "not yet", Times: times,
			Match: func(c modaltest.Call) bool {
				return c.At.Sub(born) < time.Minute && run.creating.Load() > 0 && run.revoking.Load() == 0
			},
		})
	}},
	{"the list of service users lags", func(c conditions) bool { return c.ListLags }, func(run *Run) {
		lag := run.drawDuration("lag", time.Minute, 5*time.Minute, 9*time.Minute)
		run.logf("  fault:  the list of service users is %s old", lag)
		run.modal.LagServiceUserList(lag)
	}},
	{"forbidden", func(c conditions) bool { return c.AdminTrouble }, func(run *Run) {
		run.logf("  fault:  Modal forbids a call of the admin token")
		method := serviceUserMethods[run.roll("method", len(serviceUserMethods))]
		run.modal.Inject(method, modaltest.Fault{Code: codes.PermissionDenied, Message: "no", Times: 1 + run.roll("times", 3)})
	}},
	{"a token may not end itself", func(c conditions) bool { return c.AdminTrouble }, (*Run).failTokenDelete},
}

// failTokenDelete makes Modal refuse to let a member token delete itself, or refuse all token deletions.
func (run *Run) failTokenDelete() { run.injectTokenDeleteFault(false) }

// injectTokenDeleteFault adds the fault of failTokenDelete. If othersMay is true, another token may still delete a
// token that may not delete itself.
func (run *Run) injectTokenDeleteFault(othersMay bool) {
	if run.leavesOut() {
		return
	}
	fault := modaltest.Fault{Message: "no", Times: 1 + run.roll("times", 4)}
	switch what := run.roll("code", 5); {
	case othersMay:
		fault.Code = codes.PermissionDenied
	case what < 4:
		fault.Code = []codes.Code{codes.PermissionDenied, codes.PermissionDenied, codes.NotFound, codes.Unimplemented}[what]
	default:
		fault.NoContentType = true
	}
	if run.roll("another one may", 2) == 1 || othersMay {
		fault.Match = func(c modaltest.Call) bool { return c.TokenID == c.Target }
	}
	run.logf("  fault:  %d × TokenDelete: %s, without a content type: %t", fault.Times, fault.Code, fault.NoContentType)
	if fault.NoContentType {
		run.report.count("modal: TokenDelete without a content type")
	}
	run.modal.Inject("TokenDelete", fault)
}

// maybeFailTokenDelete sometimes calls injectTokenDeleteFault before an operation that revokes a token.
func (run *Run) maybeFailTokenDelete(othersMay bool) {
	if run.conditions.Often > 0 && run.conditions.AdminTrouble && run.roll("declines here", 3) == 2 {
		run.injectTokenDeleteFault(othersMay)
	}
}

var serviceUserMethods = []string{"ServiceUserCreate", "EnvironmentRoleSet", "ServiceUserInfo", "ServiceUserDelete", "ServiceUserList"}

// inject adds a fault to the calls of a random method.
func (run *Run) inject(f modaltest.Fault) {
	methods := append([]string{"*", "TokenInfoGet", "TokenDelete", "TokenFlowCreate", "TokenFlowWait"}, serviceUserMethods...)
	method := methods[run.roll("method", len(methods))]
	f.Times = []int{1, 2, 4, 40}[run.roll("times", 4)]
	run.logf("  fault:  %d × %s: %s after %s, work done: %t", f.Times, method, f.Code, f.Delay, f.AfterCommit)
	run.modal.Inject(method, f)
}

// After a transient code, Modal did not do the work. After an ambiguous code, Modal may have done the work.
var (
	ambiguousCodes = []codes.Code{codes.Unavailable, codes.Internal, codes.DeadlineExceeded, codes.Unknown}
	transientCodes = append([]codes.Code{codes.Aborted}, ambiguousCodes...)
)

func (run *Run) drawCode(of []codes.Code) codes.Code { return of[run.roll("code", len(of))] }

// injectFaults draws the faults at Modal and in storage that start with this step.
func (run *Run) injectFaults() {
	if run.conditions.Often == 0 {
		return
	}
	if run.roll("clears up", 2) == 0 {
		run.modal.ClearFaults()
		run.setLateWork(lateWork{})
		run.leader.handle.setFailingKey("")
	}
	if run.roll("fault", 100) >= 100-run.conditions.Often {
		run.injectModalFault()
	}
	run.leader.handle.setReadFailure(false)
	if run.writesCanFail() && run.roll("storage", 100) >= 100-run.conditions.Often {
		run.injectStorageFault()
	}
}

func (run *Run) injectModalFault() {
	var kinds []faultKind
	for _, kind := range faultKinds {
		if kind.inject != nil && kind.when(run.drawn) {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 {
		return
	}
	kind := kinds[run.roll("kind", len(kinds))]
	if !kind.when(run.conditions) || run.leavesOut() {
		return
	}
	run.report.count("modal: " + kind.name)
	kind.inject(run)
}

func (run *Run) injectStorageFault() {
	if run.conditions.StorageFails && run.roll("reads", 8) == 7 && !run.leavesOut() {
		run.logf("  fault:  every storage read fails")
		run.leader.handle.setReadFailure(true)
		return
	}
	if run.conditions.StorageFails && run.roll("one key", 4) == 3 && !run.leavesOut() {
		run.failOneKey()
		return
	}
	run.planCut(6)
}

// planCut makes one of the next storage writes fail.
func (run *Run) planCut(within int) {
	if run.leavesOut() {
		return
	}
	c := cut{in: 1 + run.roll("nth write", within), committed: run.roll("committed", 2) == 1}
	var ends []func()
	if run.conditions.StorageFails {
		ends = append(ends, func() {})
	}
	if run.conditions.Crashes {
		ends = append(ends, func() { c.kills = true })
	}
	if run.conditions.CallersLeave {
		ends = append(ends, func() { c.callerLeaves = true })
	}
	ends[run.roll("end", len(ends))]()
	run.logf("  fault:  write %d from now: %s", c.in, c.String())
	run.leader.handle.addCut(c)
}

// maybePlanCut sometimes fails one of the few writes of an operation. Chance alone would seldom hit them.
func (run *Run) maybePlanCut(within int) {
	if run.conditions.Often > 0 && run.writesCanFail() && run.roll("cut here", 4) == 3 {
		run.planCut(within)
	}
}

func (run *Run) writesCanFail() bool {
	return run.conditions.StorageFails || run.conditions.Crashes || run.conditions.CallersLeave
}

func roleOf(name string) modaltest.Role { return modaltest.Role(name) }
