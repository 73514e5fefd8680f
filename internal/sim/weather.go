// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"time"

	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// faultKind is something that goes wrong at Modal.
type faultKind struct {
	name   string
	when   func(c climate) bool
	inject func(l *Life)
}

var faultKinds = []faultKind{
	{"fails before the work", func(c climate) bool { return c.ModalFails }, func(l *Life) {
		l.inject(modaltest.Fault{Code: l.code(passing), Message: "a fault"})
	}},
	{"answer lost after the work", func(c climate) bool { return c.AnswersLost }, func(l *Life) {
		l.inject(modaltest.Fault{Code: l.code(unclear), Message: "a fault", AfterCommit: true})
	}},
	{"throttled", func(c climate) bool { return c.Throttled }, func(l *Life) {
		wait := []time.Duration{time.Second, time.Hour}[roll(l.rt, "wait", 2)]
		l.inject(modaltest.Fault{Code: codes.ResourceExhausted, Message: "slow down", RetryAfter: wait, AfterCommit: roll(l.rt, "after the work", 4) == 3 && l.spec.ThrottleMayHideWork})
	}},
	{"slow", func(c climate) bool { return c.Slow }, func(l *Life) {
		delay := []time.Duration{3 * time.Second, 14 * time.Second, time.Minute}[roll(l.rt, "delay", 3)]
		l.inject(modaltest.Fault{Delay: delay, AfterCommit: roll(l.rt, "after the work", 2) == 1})
	}},
	{"done late", func(c climate) bool { return c.DoneLate }, func(l *Life) {
		late := lateness{method: []string{"ServiceUserCreate", "EnvironmentRoleSet", "ServiceUserInfo", "ServiceUserDelete", "TokenDelete"}[roll(l.rt, "method", 5)], by: l.duration("by", 20*time.Second, 90*time.Second, 4*time.Minute), times: 1 + roll(l.rt, "times", 2)}
		l.note("  weather: %d × %s is done %s late", late.times, late.method, late.by)
		l.setLate(late)
	}},
	{"outage", func(c climate) bool { return c.Outages }, nil},
	{"late to learn", func(c climate) bool { return c.LateToLearn }, func(l *Life) {
		late := []time.Duration{2 * time.Second, 20 * time.Second, 5 * time.Minute}[roll(l.rt, "late", 3)]
		l.note("  weather: Modal learns %s late", late)
		l.modal.RefuseNewTokensFor(late)
		l.modal.KeepDeletedFor(late)
	}},
	{"not yet known by its name", func(c climate) bool { return c.NotYetKnown }, func(l *Life) {
		times := 1 + roll(l.rt, "times", 3)
		born := time.Now()
		l.note("  weather: %d × new service users are not found", times)
		// Only what is new may not be found: a call of the next minutes is about one.
		l.modal.Inject("ServiceUserInfo", modaltest.Fault{
			Code: codes.NotFound, Message: "not yet", Times: times,
			Match: func(c modaltest.Call) bool {
				return c.At.Sub(born) < time.Minute && l.minting.Load() > 0 && l.ending.Load() == 0
			},
		})
	}},
	{"forbidden", func(c climate) bool { return c.AdminTrouble }, func(l *Life) {
		l.note("  weather: a call of the admin's is forbidden")
		method := managing[roll(l.rt, "method", len(managing))]
		l.modal.Inject(method, modaltest.Fault{Code: codes.PermissionDenied, Message: "no", Times: 1 + roll(l.rt, "times", 3)})
	}},
	{"a token may not end itself", func(c climate) bool { return c.AdminTrouble }, (*Life).decline},
}

// decline has Modal not let members' tokens end themselves, or none of them end any.
func (l *Life) decline() { l.declineIt(false) }

// declineIt is decline. With othersMay another token may end it where its own may not.
func (l *Life) declineIt(othersMay bool) {
	fault := modaltest.Fault{Message: "no", Times: 1 + roll(l.rt, "times", 4)}
	switch what := roll(l.rt, "code", 5); {
	case othersMay:
		fault.Code = codes.PermissionDenied
	case what < 4:
		fault.Code = []codes.Code{codes.PermissionDenied, codes.PermissionDenied, codes.NotFound, codes.Unimplemented}[what]
	default:
		fault.NoContentType = true
	}
	if roll(l.rt, "another one may", 2) == 1 || othersMay {
		fault.Match = func(c modaltest.Call) bool { return c.TokenID == c.Target }
	}
	l.note("  weather: %d × TokenDelete: %s, without a content type: %t", fault.Times, fault.Code, fault.NoContentType)
	if fault.NoContentType {
		l.report.seen("modal: TokenDelete without a content type")
	}
	l.modal.Inject("TokenDelete", fault)
}

// declinesHere is decline for an operation that is about to end a token.
func (l *Life) declinesHere(othersMay bool) {
	if l.climate.Often > 0 && l.climate.AdminTrouble && roll(l.rt, "declines here", 3) == 2 {
		l.declineIt(othersMay)
	}
}

var managing = []string{"ServiceUserCreate", "EnvironmentRoleSet", "ServiceUserInfo", "ServiceUserDelete", "ServiceUserList"}

// inject puts a fault on some call.
func (l *Life) inject(f modaltest.Fault) {
	methods := append([]string{"*", "TokenInfoGet", "TokenDelete", "TokenFlowCreate", "TokenFlowWait"}, managing...)
	method := methods[roll(l.rt, "method", len(methods))]
	f.Times = []int{1, 2, 4, 40}[roll(l.rt, "times", 4)]
	l.note("  weather: %d × %s: %s after %s, work done: %t", f.Times, method, f.Code, f.Delay, f.AfterCommit)
	l.modal.Inject(method, f)
}

// A passing failure did nothing; an unclear one may have done the work.
var (
	unclear = []codes.Code{codes.Unavailable, codes.Internal, codes.DeadlineExceeded, codes.Unknown}
	passing = append([]codes.Code{codes.Aborted}, unclear...)
)

func (l *Life) code(of []codes.Code) codes.Code { return of[roll(l.rt, "code", len(of))] }

// weather is what goes wrong at Modal and in storage from this step on.
func (l *Life) weather() {
	if l.climate.Often == 0 {
		return
	}
	if roll(l.rt, "clears up", 2) == 0 {
		l.modal.ClearFaults()
		l.setLate(lateness{})
	}
	if roll(l.rt, "weather", 100) >= 100-l.climate.Often {
		l.storm()
	}
	l.leader.handle.refuseReads(false)
	if l.storageFails() && roll(l.rt, "storage", 100) >= 100-l.climate.Often {
		l.storageFault()
	}
}

func (l *Life) storm() {
	var kinds []faultKind
	for _, kind := range faultKinds {
		if kind.inject != nil && kind.when(l.climate) {
			kinds = append(kinds, kind)
		}
	}
	if len(kinds) == 0 {
		return
	}
	kind := kinds[roll(l.rt, "kind", len(kinds))]
	l.report.seen("modal: " + kind.name)
	kind.inject(l)
}

func (l *Life) storageFault() {
	if l.climate.StorageFails && roll(l.rt, "reads", 8) == 7 {
		l.note("  weather: no read of storage succeeds")
		l.leader.handle.refuseReads(true)
		return
	}
	l.cutWrite(6)
}

// cutWrite has one of the next writes of storage fail.
func (l *Life) cutWrite(within int) {
	c := cut{in: 1 + roll(l.rt, "nth write", within), committed: roll(l.rt, "committed", 2) == 1}
	var ends []func()
	if l.climate.StorageFails {
		ends = append(ends, func() {})
	}
	if l.climate.Crashes {
		ends = append(ends, func() { c.deadly = true })
	}
	if l.climate.CallersLeave {
		ends = append(ends, func() { c.leaves = true })
	}
	ends[roll(l.rt, "end", len(ends))]()
	l.note("  weather: write %d from now: %s", c.in, c.String())
	l.leader.handle.plan(c)
}

// cutsHere cuts one of the few writes of an operation that is seldom cut by chance.
func (l *Life) cutsHere(within int) {
	if l.climate.Often > 0 && l.storageFails() && roll(l.rt, "cut here", 4) == 3 {
		l.cutWrite(within)
	}
}

func (l *Life) storageFails() bool {
	return l.climate.StorageFails || l.climate.Crashes || l.climate.CallersLeave
}

func roleOf(name string) modaltest.Role { return modaltest.Role(name) }
