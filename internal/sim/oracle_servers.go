// SPDX-License-Identifier: MPL-2.0

package sim

import "vault-plugin-secrets-modal/internal/modaltest"

// checkCalls holds each call that reached a server to where its secret may go, and whom it may end.
func (o *oracle) checkCalls() {
	o.refreshOwners()
	for _, s := range o.run.modals {
		calls := s.CallsFrom(o.callsChecked[s])
		for _, call := range calls {
			if home := o.owners[call.TokenID].server; home != nil && home != s && !o.sentByOperator[call.TokenID] {
				o.run.broken("token %s was sent to %s, which did not make it: %s", call.TokenID, s.URL(), call.Method)
			}
			switch call.Method {
			case "TokenFlowWait":
				o.checkWaitSecret(s, call)
			case "TokenDelete":
				o.checkTokenDelete(call)
			}
		}
		o.callsChecked[s] += len(calls)
	}
}

// whose is who a token is of at Modal.
type ownership struct {
	server           *modaltest.Server
	workspace, owner string
	kind             modaltest.Kind
}

// learn notes whose the tokens are, and which a person approved.
func (o *oracle) refreshOwners() {
	for _, s := range o.run.modals {
		for _, t := range s.Tokens() {
			o.owners[t.ID] = ownership{s, t.Workspace, t.Owner, t.Kind}
		}
		for _, u := range s.ServiceUsers() {
			o.userNames[u.ID] = u.Name
		}
		for _, f := range s.Flows() {
			if f.TokenID != "" {
				o.flows[f.TokenID] = f.ID
			}
		}
	}
}

// bring notes a token that an operator sends to a server.
func (o *oracle) operatorSends(id string, to string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refreshOwners()
	if home := o.owners[id].server; home == nil || home.URL() != to {
		o.sentByOperator[id] = true
	}
}

// goesTo is the server that a token which is brought now is shown to, "" where config may name another
// before the request is looked at: what an operator brings goes to the one that is configured then.
func (run *Run) configuredServer() string {
	if run.conditions.Servers && run.conditions.Overlap {
		return ""
	}
	return run.disk.truth().server
}
