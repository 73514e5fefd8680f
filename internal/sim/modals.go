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
