// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// stateView is the page as JSON, for tests that check the control plane's state. It contains no secret.
type stateView struct {
	ServiceUsers []serviceUserView `json:"service_users"`
	Calls        []callView        `json:"calls"`
	Flows        []flowView        `json:"flows"`
}

type serviceUserView struct {
	Name    string            `json:"name"`
	TokenID string            `json:"token_id"`
	Scoped  bool              `json:"scoped"`
	Roles   map[string]string `json:"roles"` // environment to viewer, contributor or no-access
}

// callView is an RPC. RPCs are listed in order of arrival. The code is "Unknown" until the RPC is answered.
type callView struct {
	Method  string    `json:"method"`
	TokenID string    `json:"token_id"`
	At      time.Time `json:"at"`
	Code    string    `json:"code"`
}

func newStateView(server *modaltest.Server) stateView {
	view := stateView{ServiceUsers: []serviceUserView{}, Calls: []callView{}, Flows: []flowView{}}
	for _, user := range server.ServiceUsers() {
		view.ServiceUsers = append(view.ServiceUsers, serviceUserView{user.Name, user.TokenID, user.Scoped, user.Roles})
	}
	for _, call := range server.Calls("") {
		view.Calls = append(view.Calls, callView{call.Method, call.TokenID, call.At, call.Code.String()})
	}
	for _, flow := range server.Flows() {
		view.Flows = append(view.Flows, newFlowView(flow))
	}
	return view
}

// outage makes every call fail as if Modal were down, until down=false.
func (p *page) outage(w http.ResponseWriter, r *http.Request) {
	down, err := strconv.ParseBool(r.FormValue("down"))
	if err != nil {
		fail(w, r, http.StatusBadRequest, fmt.Errorf("set an outage: down is %q, want true or false", r.FormValue("down")))
		return
	}
	p.server.SetOutage(down)
	answerJSON(w, http.StatusOK, map[string]bool{"down": down})
}

// delay makes the next call of an RPC wait. With always=true all its calls wait, and with "*" the calls of any RPC.
// A call waits before its work, or with after_commit=true before its answer. So a test can stop a client at a time
// when Modal knows more than the client.
func (p *page) delay(w http.ResponseWriter, r *http.Request) {
	if err := p.injectDelay(r); err != nil {
		fail(w, r, http.StatusBadRequest, err)
		return
	}
	answerJSON(w, http.StatusOK, map[string]string{"delayed": r.FormValue("rpc")})
}

func (p *page) injectDelay(r *http.Request) (err error) {
	wait, err := time.ParseDuration(r.FormValue("delay"))
	if err != nil || wait <= 0 {
		return fmt.Errorf("delay an RPC: delay is %q, want a duration, for example 5s", r.FormValue("delay"))
	}
	rpc := r.FormValue("rpc")
	if rpc == "" {
		return errors.New("delay an RPC: name the RPC as rpc, for example ServiceUserCreate")
	}
	// Inject panics if Modal has no RPC of that name, because tests want that.
	defer func() {
		if why := recover(); why != nil {
			err = fmt.Errorf("delay an RPC: %v", why)
		}
	}()
	fault := modaltest.Fault{Delay: wait, AfterCommit: r.FormValue("after_commit") == "true"}
	if r.FormValue("always") == "true" {
		fault.Times = -1
	}
	p.server.Inject(rpc, fault)
	return nil
}
