// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"cmp"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// checkDelete holds a deletion of a member's token to who may ask for it, and when: the token itself, or
// the same person's that the same role has, and on an operator's word any.
func (o *oracle) checkDelete(call modaltest.Call) {
	o.l.report.seen("TokenDelete answers " + call.Code.String())
	target, caller := o.of(call.Target), o.of(call.TokenID)
	switch {
	case target.forced:
	case target.forPeople:
		o.l.broken("the engine asked for the end of token %s %s, which it leaves to people", call.Target, ofRole(target.role))
	case target.promised(call.At.Add(o.l.doubt())):
		o.l.broken("the engine asked for the end of token %s %s, which was promised until %s", call.Target, ofRole(target.role), target.until)
	case call.TokenID == call.Target, target.free:
	case caller.role == "" && target.role == "" && caller.kept && o.whose[call.TokenID] == o.whose[call.Target]:
		o.l.report.seen("a newer admin token of the same person ended an earlier one")
	case caller.role == "" || caller.role != cmp.Or(target.role, o.asked[o.approved[call.Target]].role):
		o.l.broken("the engine asked for the end of token %s %s with token %s, which that role never had", call.Target, ofRole(target.role), call.TokenID)
	case o.whose[call.TokenID] != o.whose[call.Target]:
		o.l.broken("the engine asked for the end of token %s with token %s of somebody else", call.Target, call.TokenID)
	}
	if call.Code == 0 {
		o.l.report.seen(o.howEnded(call, target))
	}
}

func (o *oracle) howEnded(call modaltest.Call, target *told) string {
	switch {
	case call.TokenID != call.Target && o.of(call.TokenID).role != "":
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
func (o *oracle) toggle(id string) {
	t := o.l.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	told := o.of(id)
	told.excuse, told.toggled = "somebody disabled it", true
	told.forgotten = told.forgotten || !t.inLedger(id) && !t.inUse(id)
}
