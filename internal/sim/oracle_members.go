// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"cmp"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// checkDelete holds a deletion of a member's token to who may ask for it, and when: the token itself, or
// the same person's that the same role has, and on an operator's word any.
func (o *oracle) checkTokenDelete(call modaltest.Call) {
	o.run.report.count("TokenDelete answers " + call.Code.String())
	target, caller := o.record(call.Target), o.record(call.TokenID)
	switch {
	case target.forced:
	case target.manual:
		o.run.broken("the engine asked for the end of token %s %s, which it leaves to people", call.Target, ofRole(target.role))
	case target.isPromised(call.At.Add(o.run.clockSpread())):
		o.run.broken("the engine asked for the end of token %s %s, which was promised until %s", call.Target, ofRole(target.role), target.promisedUntil)
	case call.TokenID == call.Target, target.mayEnd:
	case caller.role == "" && target.role == "" && caller.tracked && o.owners[call.TokenID] == o.owners[call.Target]:
		o.run.report.count("a newer admin token of the same person ended an earlier one")
	case caller.role == "" || caller.role != cmp.Or(target.role, o.requests[o.flows[call.Target]].role):
		o.run.broken("the engine asked for the end of token %s %s with token %s, which that role never had", call.Target, ofRole(target.role), call.TokenID)
	case o.owners[call.TokenID] != o.owners[call.Target]:
		o.run.broken("the engine asked for the end of token %s with token %s of somebody else", call.Target, call.TokenID)
	}
	if call.Code == 0 {
		o.run.report.count(o.deletionKind(call, target))
	}
}

func (o *oracle) deletionKind(call modaltest.Call, target *tokenRecord) string {
	switch {
	case call.TokenID != call.Target && o.record(call.TokenID).role != "":
		return "the current token ended an earlier one"
	case call.TokenID != call.Target:
		return "the admin token ended a member's by force"
	case target.secret == "":
		return "an approved token that nobody uses ended itself"
	case target.role == "":
		return "an admin token ended itself"
	}
	return "a role's member token ended itself"
}

// toggle notes that somebody disabled a token, or enabled one: what left the ledger meanwhile, as Modal
// refused it, is nobody's any more.
func (o *oracle) tokenToggled(id string) {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	record := o.record(id)
	record.excuse, record.wasToggled = "somebody disabled it", true
	record.forgotten = record.forgotten || !t.inQueue(id) && !t.isCurrent(id)
}
