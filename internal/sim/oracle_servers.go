// SPDX-License-Identifier: MPL-2.0

package sim

// checkServers expects each token to have gone to the server alone that made it, but where an operator
// brought it to another.
func (o *oracle) checkServers() {
	o.learn()
	for _, s := range o.l.modals {
		calls := s.Calls("")
		for _, call := range calls[o.looked[s]:] {
			if home := o.madeBy[call.TokenID]; home != nil && home != s && !o.brought[call.TokenID] {
				o.l.broken("token %s was sent to %s, which did not make it: %s", call.TokenID, s.URL(), call.Method)
			}
		}
		o.looked[s] = len(calls)
	}
}

// learn notes which server made which token.
func (o *oracle) learn() {
	for _, s := range o.l.modals {
		for _, t := range s.Tokens() {
			o.madeBy[t.ID] = s
		}
	}
}

// bring notes a token that an operator sends to a server.
func (o *oracle) bring(id string, to string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.learn()
	if home := o.madeBy[id]; home == nil || home.URL() != to {
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
