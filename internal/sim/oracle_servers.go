// SPDX-License-Identifier: MPL-2.0

package sim

import "vault-plugin-secrets-modal/internal/modaltest"

// checkCalls holds each call that reached a server to where its secret may go, and whom it may end.
func (o *oracle) checkCalls() {
	o.learn()
	for _, s := range o.l.modals {
		calls := s.CallsFrom(o.looked[s])
		for _, call := range calls {
			if home := o.whose[call.TokenID].server; home != nil && home != s && !o.brought[call.TokenID] {
				o.l.broken("token %s was sent to %s, which did not make it: %s", call.TokenID, s.URL(), call.Method)
			}
			switch call.Method {
			case "TokenFlowWait":
				o.checkWait(s, call)
			case "TokenDelete":
				o.checkDelete(call)
			}
		}
		o.looked[s] += len(calls)
	}
}

// whose is who a token is of at Modal.
type whose struct {
	server           *modaltest.Server
	workspace, owner string
	kind             modaltest.Kind
}

// learn notes whose the tokens are, and which a person approved.
func (o *oracle) learn() {
	for _, s := range o.l.modals {
		for _, t := range s.Tokens() {
			o.whose[t.ID] = whose{s, t.Workspace, t.Owner, t.Kind}
		}
		for _, f := range s.Flows() {
			if f.TokenID != "" {
				o.approved[f.TokenID] = f.ID
			}
		}
	}
}

// bring notes a token that an operator sends to a server.
func (o *oracle) bring(id string, to string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.learn()
	if home := o.whose[id].server; home == nil || home.URL() != to {
		o.brought[id] = true
	}
}

// goesTo is the server that a token which is brought now is shown to, "" where config may name another
// before the request is looked at: what an operator brings goes to the one that is configured then.
func (l *Life) goesTo() string {
	if l.climate.Servers && l.climate.Overlap {
		return ""
	}
	return l.disk.truth().server
}
