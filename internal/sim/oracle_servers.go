// SPDX-License-Identifier: MPL-2.0

package sim

import "vault-plugin-secrets-modal/internal/modaltest"

// checkCalls checks each call that reached a server: where its secret may go, and which token it may delete.
func (o *oracle) checkCalls() {
	o.refreshOwners()
	for _, s := range o.run.modals {
		calls := s.CallsFrom(o.callsChecked[s])
		for _, call := range calls {
			if home := o.owners[call.TokenID].server; home != nil && home != s && !o.sentByOperator[call.TokenID] {
				o.run.broken("the engine sent token %s to %s, which did not create it: %s", call.TokenID, s.URL(), call.Method)
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

// ownership says who owns a token at Modal.
type ownership struct {
	server           *modaltest.Server
	workspace, owner string
	kind             modaltest.Kind
}

// refreshOwners records the owner of each token, and which tokens a person approved.
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

// operatorSends records that an operator sends a token to a server.
func (o *oracle) operatorSends(id string, to string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refreshOwners()
	if home := o.owners[id].server; home == nil || home.URL() != to {
		o.sentByOperator[id] = true
	}
}

// configuredServer returns the server that the engine shows a supplied token to. It returns "" if config may name
// another server before the engine handles the request.
func (run *Run) configuredServer() string {
	if run.conditions.Servers && run.conditions.Overlap {
		return ""
	}
	return run.disk.truth().server
}
