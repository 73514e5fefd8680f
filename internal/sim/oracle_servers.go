// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"sync/atomic"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// called is how many of a server's calls were looked at, and whether others came since.
type called struct {
	looked int
	news   atomic.Bool
}

// listen hears of each call to a server, and then lets it go on: to copy all calls at every check, new
// ones or not, would take a third of a life.
func (o *oracle) listen(s *modaltest.Server, then func(method string)) {
	c := &called{}
	o.called[s] = c
	s.OnCall(func(method string) {
		c.news.Store(true)
		then(method)
	})
}

// checkServers expects each token to have gone to the server alone that made it, but where an operator
// brought it to another.
func (o *oracle) checkServers() {
	o.learn()
	for _, s := range o.l.modals {
		c := o.called[s]
		if !c.news.Swap(false) {
			continue
		}
		calls := s.Calls("")
		for _, call := range calls[c.looked:] {
			if home := o.madeBy[call.TokenID]; home != nil && home != s && !o.brought[call.TokenID] {
				o.l.broken("token %s was sent to %s, which did not make it: %s", call.TokenID, s.URL(), call.Method)
			}
		}
		c.looked = len(calls)
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
