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

// learnOwners records the present owners.
func (o *oracle) learnOwners() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.refreshOwners()
}

// logDeletion adds a call that may have deleted a token to the history, with the caller's token.
func (run *Run) logDeletion(s *modaltest.Server, call modaltest.Call) {
	target := call.Target
	switch call.Method {
	case "ServiceUserDelete":
		run.oracle.mu.Lock()
		if name := run.oracle.userNames[target]; name != "" {
			target = "service user " + name
		}
		run.oracle.mu.Unlock()
	case "TokenDelete":
		target = "token " + target
	default:
		return
	}
	caller := "token " + call.TokenID
	if call.TokenID == call.Target {
		caller = "itself"
	} else if call.TokenID == run.disk.truth().admin.ID {
		caller = "the admin token"
	}
	run.logf("    Modal at %s: %s of %s with %s: %s", s.URL(), call.Method, target, caller, call.Code)
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
			o.others[u.TokenID], o.others[u.Name] = u.Name, u.TokenID
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
