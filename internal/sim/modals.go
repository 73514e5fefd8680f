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

// AcceptsAt says whether one server accepts the pair now.
func (m modals) AcceptsAt(url, id, secret string) bool {
	return slices.ContainsFunc(m, func(s *modaltest.Server) bool { return s.URL() == url && s.Accepts(id, secret) })
}

// Use has whoever has a token make some call with it, and says whether it was accepted.
func (m modals) Use(id, secret string) bool {
	return slices.ContainsFunc(m, func(s *modaltest.Server) bool { return s.Use(id, secret) })
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

// Flows are all that were begun, decided ones too.
func (m modals) Flows() []modaltest.FlowInfo {
	var flows []modaltest.FlowInfo
	for _, s := range m {
		flows = append(flows, s.Flows()...)
	}
	return flows
}

// Of is the server of a flow.
func (m modals) Of(flow string) *modaltest.Server {
	i := slices.IndexFunc(m, func(s *modaltest.Server) bool {
		return slices.ContainsFunc(s.Flows(), func(f modaltest.FlowInfo) bool { return f.ID == flow })
	})
	return m[i]
}

// Approve has a person approve a flow, and says whether it waited for one.
func (m modals) Approve(flow string, who *modaltest.Member) (modaltest.Token, bool) {
	for _, s := range m {
		if t, err := s.ApproveFlow(flow, who); err == nil {
			return t, true
		}
	}
	return modaltest.Token{}, false
}

// Deny has a person turn a flow down, and says whether it waited for one.
func (m modals) Deny(flow string) bool {
	return slices.ContainsFunc(m, func(s *modaltest.Server) bool { return s.DenyFlow(flow) == nil })
}

// SetDisabled disables a member's token where it is, or enables it.
func (m modals) SetDisabled(id string, disabled bool) {
	for _, s := range m {
		if slices.ContainsFunc(s.Tokens(), func(t modaltest.TokenInfo) bool { return t.ID == id }) {
			s.SetDisabled(id, disabled)
		}
	}
}

// DeleteToken deletes a token where it is.
func (m modals) DeleteToken(id string) {
	for _, s := range m {
		s.DeleteToken(id)
	}
}
