// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// FlowState says how far a token flow is.
type FlowState string

// The states of a token flow. An approved one stays so when it lapses.
const (
	FlowWaiting  FlowState = "waiting"
	FlowApproved FlowState = "approved"
	FlowDenied   FlowState = "denied"
	FlowLapsed   FlowState = "lapsed"
)

// FlowInfo describes a token flow, without its secret and its token's.
type FlowInfo struct {
	ID            string // tf-…
	URL           string // where a person approves it
	Code          string // what that person compares
	State         FlowState
	Created       time.Time
	Lapses        time.Time
	TokenLife     time.Duration // of the token to come; 0: no end
	LocalhostPort int32
	NextURL       string
	TokenID       string // once approved
}

type flow struct {
	FlowInfo
	waitSecret string
	decided    chan struct{} // closed once somebody approved or denied
	token      *token        // once approved
	taken      bool          // by WithFlowAnswersOnce: the token was handed out
}

// Assumed: nobody outside knows how long a flow waits for its person.
const flowLifetime = time.Hour

// WithFlowLifetime changes how long a token flow can be approved and asked for, an hour by default.
func WithFlowLifetime(d time.Duration) Option {
	return func(s *Server) { s.flowLifetime = d }
}

// WithFlowAnswersOnce makes a token flow hand its token out once. Assumed by default: as often as it is
// asked for, until the flow lapses.
func WithFlowAnswersOnce() Option {
	return func(s *Server) { s.flowAnswersOnce = true }
}

// WithFlowPage sends people to pages below another URL than the server's own, without a trailing slash,
// to approve a token flow: <url>/token-flow/<id>.
func WithFlowPage(url string) Option {
	return func(s *Server) { s.flowPage = url }
}

// Flows describes all token flows, oldest first.
func (s *Server) Flows() []FlowInfo {
	s.mu.Lock()
	defer s.mu.Unlock()
	infos := make([]FlowInfo, len(s.flows))
	for i, f := range s.flows {
		infos[i] = f.FlowInfo
		if f.State == FlowWaiting && f.lapsed(s.now()) {
			infos[i].State = FlowLapsed
		}
	}
	return infos
}

// ApproveFlow does what a member does on Modal's page: it makes a token of theirs for whoever waits. It
// fails when no such flow waits.
//
// Assumed: the token's life begins with the approval.
func (s *Server) ApproveFlow(id string, m *Member, opts ...TokenOption) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.undecided(id)
	if err != nil {
		return Token{}, fmt.Errorf("approve token flow %q: %w", id, err)
	}
	f.token = &token{workspace: m.workspace, member: m}
	if f.TokenLife > 0 {
		f.token.expires = s.now().Add(f.TokenLife)
	}
	t := s.mint(f.token, opts)
	f.TokenID = t.ID
	f.decide(FlowApproved)
	return t, nil
}

// ApproveFlowAgain has a member approve a flow that was approved before, as on a page that is open twice: from
// then on the flow hands out the new token. Assumed: that Modal allows it.
func (s *Server) ApproveFlowAgain(id string, m *Member, opts ...TokenOption) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.flows, func(f *flow) bool { return f.ID == id && f.State == FlowApproved })
	if i < 0 {
		return Token{}, fmt.Errorf("approve token flow %q again: %w", id, errNoFlow)
	}
	f := s.flows[i]
	f.token, f.taken = &token{workspace: m.workspace, member: m}, false
	t := s.mint(f.token, opts)
	f.TokenID = t.ID
	return t, nil
}

// DenyFlow turns the flow down. It fails when no such flow waits.
func (s *Server) DenyFlow(id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.undecided(id)
	if err != nil {
		return fmt.Errorf("deny token flow %q: %w", id, err)
	}
	f.decide(FlowDenied)
	return nil
}

// Why a person cannot decide about a flow.
var (
	errNoFlow      = errors.New("there is none")
	errFlowLapsed  = errors.New("it has lapsed")
	errFlowDecided = errors.New("it was decided before")
)

// undecided finds a flow that waits for a person. The caller holds s.mu.
func (s *Server) undecided(id string) (*flow, error) {
	i := slices.IndexFunc(s.flows, func(f *flow) bool { return f.ID == id })
	switch {
	case i < 0:
		return nil, errNoFlow
	case s.flows[i].State != FlowWaiting:
		return nil, errFlowDecided
	case s.flows[i].lapsed(s.now()):
		return nil, errFlowLapsed
	}
	return s.flows[i], nil
}

func (f *flow) lapsed(now time.Time) bool { return !now.Before(f.Lapses) }

func (f *flow) decide(state FlowState) {
	f.State = state
	close(f.decided)
}

// beginFlow completes the flow and stores it.
func (s *Server) beginFlow(info FlowInfo) *flow {
	page := s.flowPage
	if page == "" {
		page = s.URL()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	f := &flow{FlowInfo: info, waitSecret: randomID(""), decided: make(chan struct{})}
	f.ID, f.Code, f.State = randomID("tf-"), randomCode(), FlowWaiting
	f.URL = page + "/token-flow/" + f.ID
	f.Created = s.now()
	f.Lapses = f.Created.Add(s.flowLifetime)
	s.flows = append(s.flows, f)
	s.secrets = append(s.secrets, f.waitSecret)
	return f
}

// randomCode is what a person compares. Assumed: its shape.
func randomCode() string {
	code := randomID("")[:8]
	return code[:4] + "-" + code[4:]
}
