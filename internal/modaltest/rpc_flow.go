// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"slices"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// rpcsWithoutToken are the RPCs that need no token (Python client, test/conftest.py recv_request). Assumed:
// they ignore a token that is sent with them.
var rpcsWithoutToken = []string{"TokenFlowCreate", "TokenFlowWait"}

// TokenFlowCreate starts a flow that a person approves in a browser.
//
// Assumed: without expires_in_seconds the token never expires, because this workspace sets no limit.
func (c *controlPlane) TokenFlowCreate(_ context.Context, req *pb.TokenFlowCreateRequest) (*pb.TokenFlowCreateResponse, error) {
	f := c.server.beginFlow(FlowInfo{
		TokenLife:     time.Duration(req.GetExpiresInSeconds()) * time.Second,
		LocalhostPort: req.GetLocalhostPort(),
		NextURL:       req.GetNextUrl(),
	})
	return pb.TokenFlowCreateResponse_builder{
		TokenFlowId: f.ID, WebUrl: f.URL, Code: f.Code, WaitSecret: f.waitSecret,
	}.Build(), nil
}

// TokenFlowWait answers as soon as a person has decided. If nobody decides before the timeout, the answer has
// the field timeout.
func (c *controlPlane) TokenFlowWait(ctx context.Context, req *pb.TokenFlowWaitRequest) (*pb.TokenFlowWaitResponse, error) {
	decided, err := c.server.flowDecided(req)
	if err != nil {
		return nil, err
	}
	wait, cancel := context.WithTimeout(ctx, flowTimeout(req.GetTimeout()))
	defer cancel()
	select {
	case <-decided:
	case <-wait.Done():
	}
	if ctx.Err() != nil {
		return nil, status.FromContextError(ctx.Err()).Err()
	}
	return c.server.answerFlow(req)
}

// flowTimeout converts the requested timeout. Assumed: Modal waits as long as the client asks. No client asks
// for more than a day.
func flowTimeout(seconds float32) time.Duration {
	const longest = 24 * 60 * 60
	return time.Duration(min(float64(seconds), longest) * float64(time.Second))
}

func (s *Server) flowDecided(req *pb.TokenFlowWaitRequest) (<-chan struct{}, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.requestedFlow(req)
	if err != nil {
		return nil, err
	}
	return f.decided, nil
}

// answerFlow answers a TokenFlowWait after the wait. Assumed: the code and text of a denial.
func (s *Server) answerFlow(req *pb.TokenFlowWaitRequest) (*pb.TokenFlowWaitResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.requestedFlow(req)
	switch {
	case err != nil:
		return nil, err
	case f.State == FlowDenied:
		return nil, status.Error(codes.PermissionDenied, "Token flow was denied")
	case f.State == FlowWaiting:
		return pb.TokenFlowWaitResponse_builder{Timeout: true}.Build(), nil
	}
	f.returned = s.flowAnswersOnce
	return pb.TokenFlowWaitResponse_builder{
		TokenId: f.token.ID, TokenSecret: f.token.Secret, WorkspaceUsername: f.token.workspace.name,
	}.Build(), nil
}

// requestedFlow finds the flow of a request that contains its wait secret. The caller must lock s.mu.
//
// Assumed: a flow is NOT_FOUND if it is unknown, has lapsed or has returned its token, or if the request
// contains another secret.
func (s *Server) requestedFlow(req *pb.TokenFlowWaitRequest) (*flow, error) {
	i := slices.IndexFunc(s.flows, func(f *flow) bool {
		return f.ID == req.GetTokenFlowId() && f.waitSecret == req.GetWaitSecret() && !f.returned && !f.lapsed(s.now())
	})
	if i < 0 {
		return nil, status.Errorf(codes.NotFound, "Token flow '%s' not found", req.GetTokenFlowId())
	}
	return s.flows[i], nil
}
