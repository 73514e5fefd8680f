// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"strings"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// Call is one RPC as it arrived and was answered.
type Call struct {
	Method  string      // such as "TokenInfoGet"
	TokenID string      // as sent, known or not; never a secret
	Header  metadata.MD // without the token secret
	Target  string      // the ID of what the call ends, changes or waits for: a token, a service user, a token flow
	At      time.Time
	Code    codes.Code // codes.Unknown while the call is being answered
}

// Calls returns the calls of an RPC in the order they arrived, "" for all. It
// panics when no such RPC exists.
func (s *Server) Calls(method string) []Call {
	if method != "" {
		mustExist(method)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Call
	for _, c := range s.calls {
		if method == "" || method == everyRPC || c.Method == method {
			found = append(found, c.clone())
		}
	}
	return found
}

// CallsFrom returns all calls but the first n, in the order they arrived.
func (s *Server) CallsFrom(n int) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Call
	for _, c := range s.calls[min(n, len(s.calls)):] {
		found = append(found, c.clone())
	}
	return found
}

// CallCount is how many calls arrived.
func (s *Server) CallCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.calls)
}

func (c *Call) clone() Call {
	copied := *c
	copied.Header = c.Header.Copy()
	return copied
}

// OnCall has f called with the RPC's name, such as "TokenInfoGet", when a call has
// been recorded and before anything else is done about it; nil ends that. Calls
// that arrive together call f together.
func (s *Server) OnCall(f func(method string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCall = f
}

// announce runs without the lock, so that f may use the server.
func (s *Server) announce(method string) {
	s.mu.Lock()
	f := s.onCall
	s.mu.Unlock()
	if f != nil {
		f(method)
	}
}

// record notes the call's arrival; the function returned notes its answer.
func (s *Server) record(ctx context.Context, method, target string) (call Call, answered func(codes.Code)) {
	header := withoutSecrets(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Call{Method: method, TokenID: first(header, headerTokenID), Header: header, Target: target, At: s.now(), Code: codes.Unknown}
	s.calls = append(s.calls, c)
	return c.clone(), func(code codes.Code) {
		s.mu.Lock()
		defer s.mu.Unlock()
		c.Code = code
	}
}

// targetOf is what a request ends, changes or waits for, empty for all other requests.
func targetOf(req any) string {
	switch req := req.(type) {
	case *pb.TokenDeleteRequest:
		return req.GetTokenId()
	case *pb.ServiceUserDeleteRequest:
		return req.GetServiceUserId()
	case *pb.EnvironmentRoleSetRequest:
		return req.GetServiceUserId()
	case *pb.TokenFlowWaitRequest:
		return req.GetTokenFlowId()
	}
	return ""
}

// withoutSecrets masks whatever looks like a token secret in any header: people
// swap the pair, and then the ID's header carries it.
func withoutSecrets(ctx context.Context) metadata.MD {
	incoming, _ := metadata.FromIncomingContext(ctx)
	header := incoming.Copy()
	header.Delete(headerTokenSecret)
	for _, values := range header {
		for i, value := range values {
			if strings.HasPrefix(value, "as-") {
				values[i] = "as-masked"
			}
		}
	}
	return header
}
