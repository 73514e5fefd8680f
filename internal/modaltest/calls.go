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

// Call describes one RPC and its answer.
type Call struct {
	Method  string      // for example "TokenInfoGet"
	TokenID string      // as the client sent it, also if unknown; never a secret
	Header  metadata.MD // without the token secret
	Target  string      // the ID of the token, service user or token flow that the call deletes, changes or waits for
	At      time.Time
	Code    codes.Code // codes.Unknown until the call is answered, and for an answer without gRPC
}

// Calls returns the calls of an RPC in the order of their arrival. "" returns all calls. It panics if the RPC
// does not exist.
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

// CallsFrom returns all calls except the first n, in the order of their arrival.
func (s *Server) CallsFrom(n int) []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []Call
	for _, c := range s.calls[min(n, len(s.calls)):] {
		found = append(found, c.clone())
	}
	return found
}

// CallCount returns the number of calls that have arrived.
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

// OnCall sets a hook. The server calls f with the name of the RPC, for example "TokenInfoGet", after it has
// recorded a call and before it does anything else. Concurrent calls run f concurrently. Nil removes the
// hook.
func (s *Server) OnCall(f func(method string)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onCall = f
}

// runOnCall runs the hook without the lock, so that the hook may use the server.
func (s *Server) runOnCall(method string) {
	s.mu.Lock()
	f := s.onCall
	s.mu.Unlock()
	if f != nil {
		f(method)
	}
}

// OnAnswer sets a hook. The server calls f with each call and the code of its answer, before it sends the answer.
// Concurrent calls run f concurrently. Nil removes the hook.
func (s *Server) OnAnswer(f func(Call)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.onAnswer = f
}

// record stores the call. The returned function stores the code of its answer.
func (s *Server) record(ctx context.Context, method, target string) (call Call, answered func(codes.Code)) {
	header := withoutSecrets(ctx)
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &Call{Method: method, TokenID: first(header, headerTokenID), Header: header, Target: target, At: s.now(), Code: codes.Unknown}
	s.calls = append(s.calls, c)
	return c.clone(), func(code codes.Code) {
		s.mu.Lock()
		c.Code = code
		f, answer := s.onAnswer, c.clone()
		s.mu.Unlock()
		if f != nil {
			f(answer)
		}
	}
}

// targetOf returns the ID of the thing that a request deletes, changes or waits for. It is empty for all
// other requests.
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

// withoutSecrets masks token secrets in every header. If a person swaps ID and secret, the ID's header
// contains the secret.
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
