// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"slices"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// modals are all servers of a life. Their IDs are random, so that a token is known by its ID alone.
type modals []*modaltest.Server

// Accepts says whether a server accepts the pair now.
func (m modals) Accepts(id, secret string) bool {
	return slices.ContainsFunc(m, func(s *modaltest.Server) bool { return s.Accepts(id, secret) })
}

// Tokens are those that were not deleted.
func (m modals) Tokens() []modaltest.TokenInfo {
	var tokens []modaltest.TokenInfo
	for _, s := range m {
		tokens = append(tokens, s.Tokens()...)
	}
	return tokens
}

// ServiceUsers are those that were not deleted.
func (m modals) ServiceUsers() []modaltest.ServiceUserInfo {
	var users []modaltest.ServiceUserInfo
	for _, s := range m {
		users = append(users, s.ServiceUsers()...)
	}
	return users
}

// DeleteToken deletes a token where it is.
func (m modals) DeleteToken(id string) {
	for _, s := range m {
		s.DeleteToken(id)
	}
}

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
