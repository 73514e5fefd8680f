// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"cmp"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// checkTokenDelete checks a deletion of a member token. The caller must be the token itself, or a token of the same
// person and role. If an operator forced the deletion, the caller may be any token.
func (o *oracle) checkTokenDelete(call modaltest.Call) {
	o.run.report.count("TokenDelete answers " + call.Code.String())
	target, caller := o.record(call.Target), o.record(call.TokenID)
	switch {
	case target.forced:
	case target.manual:
		o.run.broken("the engine asked Modal to delete token %s %s, but an operator must revoke it", call.Target, ofRole(target.role))
	case target.isPromised(call.At.Add(o.run.clockSpread())):
		o.run.broken("the engine asked Modal to delete token %s %s, which %s", call.Target, ofRole(target.role), target.expectation())
	case call.TokenID == call.Target, target.mayEnd:
	case caller.role == "" && target.role == "" && caller.tracked && o.owners[call.TokenID] == o.owners[call.Target]:
		o.run.report.count("a newer admin token deleted an earlier token of the same person")
	case caller.role == "" || caller.role != cmp.Or(target.role, o.requests[o.flows[call.Target]].role):
		o.run.broken("the engine asked Modal to delete token %s %s with token %s, which never belonged to that role", call.Target, ofRole(target.role), call.TokenID)
	case o.owners[call.TokenID] != o.owners[call.Target]:
		o.run.broken("the engine asked Modal to delete token %s with token %s of another person", call.Target, call.TokenID)
	}
	if call.Code == 0 {
		o.run.report.count(o.deletionKind(call, target))
	}
}

func (o *oracle) deletionKind(call modaltest.Call, target *tokenRecord) string {
	switch {
	case call.TokenID != call.Target && o.record(call.TokenID).role != "":
		return "the current token deleted an earlier token"
	case call.TokenID != call.Target:
		return "the admin token deleted a member token by force"
	case target.secret == "":
		return "an unused approved token deleted itself"
	case target.role == "":
		return "an admin token deleted itself"
	}
	return "a role's member token deleted itself"
}

// tokenToggled records that somebody disabled or enabled a token. If its revocation was removed because Modal
// rejected the disabled token, the engine need not know the token any more.
func (o *oracle) tokenToggled(id string) {
	t := o.run.disk.truth()
	o.mu.Lock()
	defer o.mu.Unlock()
	record := o.record(id)
	record.excuse, record.wasToggled = "somebody disabled it", true
	record.forgotten = record.forgotten || !t.inQueue(id) && !t.isCurrent(id)
}
