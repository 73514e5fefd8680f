// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// flowView is a token flow as JSON. It contains neither the wait secret nor the token's secret.
type flowView struct {
	ID      string `json:"token_flow_id"`
	URL     string `json:"url"`
	Code    string `json:"code"`
	State   string `json:"state"` // waiting, approved, denied or lapsed
	TokenID string `json:"token_id,omitempty"`
}

func newFlowView(flow modaltest.FlowInfo) flowView {
	return flowView{flow.ID, flow.URL, flow.Code, string(flow.State), flow.TokenID}
}

// flowPageView is the page for the person who approves.
type flowPageView struct {
	Flow   modaltest.FlowInfo
	People []personView
}

type personView struct {
	Workspace, Owner string // the values of the form's fields
	Role             modaltest.Role
}

func (p *page) people() []personView {
	var people []personView
	for _, workspace := range p.server.Workspaces() {
		for _, m := range workspace.Members() {
			people = append(people, personView{workspace.Name(), m.Username(), m.Role()})
		}
	}
	return people
}

func (p *page) lookAtFlow(w http.ResponseWriter, r *http.Request) {
	flow, found := p.flow(r)
	switch {
	case !found:
		fail(w, r, http.StatusNotFound, errNoFlow)
	case wantsJSON(r):
		answerJSON(w, http.StatusOK, newFlowView(flow))
	default:
		render(w, flowTemplate, flowPageView{flow, p.people()})
	}
}

// approve creates a token of the member that the form names, for the client that waits.
func (p *page) approve(w http.ResponseWriter, r *http.Request) {
	member, err := p.member(r)
	if err != nil {
		fail(w, r, http.StatusBadRequest, fmt.Errorf("approve the token flow: %w", err))
		return
	}
	p.decide(w, r, func(id string) error {
		_, err := p.server.ApproveFlow(id, member)
		return err
	})
}

func (p *page) deny(w http.ResponseWriter, r *http.Request) {
	p.decide(w, r, p.server.DenyFlow)
}

func (p *page) decide(w http.ResponseWriter, r *http.Request, how func(id string) error) {
	flow, found := p.flow(r)
	if !found {
		fail(w, r, http.StatusNotFound, errNoFlow)
		return
	}
	if err := how(flow.ID); err != nil {
		fail(w, r, http.StatusConflict, err)
		return
	}
	if wantsJSON(r) {
		p.lookAtFlow(w, r)
		return
	}
	http.Redirect(w, r, "/token-flow/"+flow.ID, http.StatusSeeOther)
}

var errNoFlow = errors.New("find the token flow: no token flow with that ID exists")

func (p *page) flow(r *http.Request) (modaltest.FlowInfo, bool) {
	flows := p.server.Flows()
	i := slices.IndexFunc(flows, func(f modaltest.FlowInfo) bool { return f.ID == r.PathValue("id") })
	if i < 0 {
		return modaltest.FlowInfo{}, false
	}
	return flows[i], true
}
