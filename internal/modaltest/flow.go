// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// FlowState is the state of a token flow.
type FlowState string

// These are the states of a token flow. An approved flow stays approved after its lifetime.
const (
	FlowWaiting  FlowState = "waiting"
	FlowApproved FlowState = "approved"
	FlowDenied   FlowState = "denied"
	FlowLapsed   FlowState = "lapsed"
)

// FlowInfo describes a token flow without its wait secret and without the token's secret.
type FlowInfo struct {
	ID            string // tf-…
	URL           string // the page on which a person approves it
	Code          string // the code that the person compares
	State         FlowState
	Created       time.Time
	Lapses        time.Time
	TokenLife     time.Duration // lifetime of the new token; 0: it never expires
	LocalhostPort int32
	NextURL       string
	TokenID       string // set after the approval
}

type flow struct {
	FlowInfo
	waitSecret string
	decided    chan struct{} // closed after a person approved or denied the flow
	token      *token        // set after the approval
	returned   bool          // the token was returned and, with WithFlowAnswersOnce, is not returned again
}

// flowLifetime is the default lifetime of a flow. Assumed: Modal does not publish how long a flow waits for a
// person.
const flowLifetime = time.Hour

// WithFlowLifetime changes how long a person can approve a token flow and a client can ask for its token. The
// default is one hour.
func WithFlowLifetime(d time.Duration) Option {
	return func(s *Server) { s.flowLifetime = d }
}

// WithFlowAnswersOnce makes a token flow return its token only once. Assumed by default: a flow returns its
// token on every request until it lapses.
func WithFlowAnswersOnce() Option {
	return func(s *Server) { s.flowAnswersOnce = true }
}

// WithFlowPage changes the base URL of the pages on which people approve token flows: <url>/token-flow/<id>.
// The default is the server's own URL. The given URL has no trailing slash.
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

// ApproveFlow approves a flow as a member does on Modal's page: it creates a token of the member for the
// waiting client. It fails if no flow with that ID waits for a person.
//
// Assumed: the token's lifetime begins with the approval.
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

// ApproveFlowAgain approves an approved flow a second time, as on a page that is open twice. From then on the
// flow returns the new token. Assumed: Modal allows it.
func (s *Server) ApproveFlowAgain(id string, m *Member, opts ...TokenOption) (Token, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := slices.IndexFunc(s.flows, func(f *flow) bool { return f.ID == id && f.State == FlowApproved })
	if i < 0 {
		return Token{}, fmt.Errorf("approve token flow %q again: %w", id, errNoFlow)
	}
	f := s.flows[i]
	f.token, f.returned = &token{workspace: m.workspace, member: m}, false
	t := s.mint(f.token, opts)
	f.TokenID = t.ID
	return t, nil
}

// DenyFlow denies a flow. It fails if no flow with that ID waits for a person.
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

// These errors say why a person cannot approve or deny a flow.
var (
	errNoFlow      = errors.New("no such flow exists")
	errFlowLapsed  = errors.New("it has lapsed")
	errFlowDecided = errors.New("a person has decided before")
)

// undecided returns a flow that waits for a person. The caller must lock s.mu.
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

// randomCode returns the code that a person compares. Assumed: its format.
func randomCode() string {
	code := randomID("")[:8]
	return code[:4] + "-" + code[4:]
}
