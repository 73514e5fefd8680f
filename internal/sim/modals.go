// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"slices"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// modals are all emulated Modal servers of a run. Token IDs are random, so an ID alone identifies a token.
type modals []*modaltest.Server

// Accepts reports whether a server accepts the token now.
func (m modals) Accepts(id, secret string) bool {
	return slices.ContainsFunc(m, func(s *modaltest.Server) bool { return s.Accepts(id, secret) })
}

// AcceptsAt reports whether the server at url accepts the token now.
func (m modals) AcceptsAt(url, id, secret string) bool {
	return slices.ContainsFunc(m, func(s *modaltest.Server) bool { return s.URL() == url && s.Accepts(id, secret) })
}

// Use makes a call with a token and reports whether a server accepted it.
func (m modals) Use(id, secret string) bool {
	return slices.ContainsFunc(m, func(s *modaltest.Server) bool { return s.Use(id, secret) })
}

// Tokens returns all tokens that exist.
func (m modals) Tokens() []modaltest.TokenInfo {
	var tokens []modaltest.TokenInfo
	for _, s := range m {
		tokens = append(tokens, s.Tokens()...)
	}
	return tokens
}

// ServiceUsers returns all service users that exist.
func (m modals) ServiceUsers() []modaltest.ServiceUserInfo {
	var users []modaltest.ServiceUserInfo
	for _, s := range m {
		users = append(users, s.ServiceUsers()...)
	}
	return users
}

// Flows returns all flows, including finished flows.
func (m modals) Flows() []modaltest.FlowInfo {
	var flows []modaltest.FlowInfo
	for _, s := range m {
		flows = append(flows, s.Flows()...)
	}
	return flows
}

// Of returns the server of a flow.
func (m modals) Of(flow string) *modaltest.Server {
	i := slices.IndexFunc(m, func(s *modaltest.Server) bool {
		return slices.ContainsFunc(s.Flows(), func(f modaltest.FlowInfo) bool { return f.ID == flow })
	})
	return m[i]
}

// Approve approves a flow as a person and reports whether the flow was waiting.
func (m modals) Approve(flow string, who *modaltest.Member) (modaltest.Token, bool) {
	for _, s := range m {
		if t, err := s.ApproveFlow(flow, who); err == nil {
			return t, true
		}
	}
	return modaltest.Token{}, false
}

// Deny rejects a flow and reports whether the flow was waiting.
func (m modals) Deny(flow string) bool {
	return slices.ContainsFunc(m, func(s *modaltest.Server) bool { return s.DenyFlow(flow) == nil })
}

// SetDisabled disables or enables a member token at its server.
func (m modals) SetDisabled(id string, disabled bool) {
	for _, s := range m {
		if slices.ContainsFunc(s.Tokens(), func(t modaltest.TokenInfo) bool { return t.ID == id }) {
			s.SetDisabled(id, disabled)
		}
	}
}

// DeleteToken deletes a token at its server.
func (m modals) DeleteToken(id string) {
	for _, s := range m {
		s.DeleteToken(id)
	}
}
