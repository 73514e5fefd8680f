// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// everyRPC is the method name that stands for all of them.
const everyRPC = "*"

// Fault is what goes wrong with the calls it meets.
type Fault struct {
	Code        codes.Code    // the error to answer with; OK with a Delay only delays
	Message     string        // the error's text
	AfterCommit bool          // do the work first: the server did it, the client saw the fault
	Delay       time.Duration // wait before answering; ends early if the client goes away
	RetryAfter  time.Duration // attached as Modal's RPCRetryPolicy, usually to ResourceExhausted
	Times       int           // calls to meet; 0 means 1, -1 until ClearFaults

	// NoContentType answers as a grpclib server does for a method that it does not have: UNIMPLEMENTED
	// in a response without a content type, of which grpc-go makes UNKNOWN. It goes without a Code.
	NoContentType bool

	// Match picks the calls to meet, nil for all; others go on to the next fault.
	// It must not use the server, which waits for it.
	Match func(Call) bool
	// Mangle changes the answer after the work is done; only without a Code.
	Mangle func(proto.Message)
}

// Inject puts a fault on an RPC such as "TokenInfoGet", or "*" for any. Faults
// of one method are used up in order, before those of "*". It panics when no
// such RPC exists or the fault would change nothing.
func (s *Server) Inject(method string, f Fault) {
	mustExist(method)
	if why := f.flaw(); why != "" {
		panic(fmt.Sprintf("modaltest: inject into %s: %s", method, why))
	}
	if f.Times == 0 {
		f.Times = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults[method] = append(s.faults[method], &f)
}

// flaw says why the fault would prove nothing.
func (f *Fault) flaw() string {
	switch fails := f.Code != codes.OK || f.NoContentType; {
	case !fails && f.Delay <= 0 && f.Mangle == nil:
		return "a fault needs a Code, a Delay, a Mangle or NoContentType"
	case f.NoContentType && f.Code != codes.OK:
		return "NoContentType has its own Code"
	case f.Code == codes.OK && f.RetryAfter > 0:
		return "RetryAfter needs a Code"
	case fails && f.Mangle != nil:
		return "a fault with a Code has no answer to Mangle"
	}
	return ""
}

// KeepDeletedFor makes the tokens that TokenDelete and ServiceUserDelete delete from now on accepted for
// another d, as if Modal's servers heard of it late; service users themselves are gone at once.
func (s *Server) KeepDeletedFor(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepDeletedFor = d
}

// RefuseNewTokensFor makes tokens created from now on UNAUTHENTICATED for their
// first d, as if Modal's servers heard of them late.
func (s *Server) RefuseNewTokensFor(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuseNewFor = d
}

// SetOutage makes every RPC UNAVAILABLE, or ends that.
func (s *Server) SetOutage(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outage = down
}

// ClearFaults ends all faults, the outage, the lags, the refusal of new tokens and the
// acceptance of deleted ones.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
	s.outage = false
	s.refuseNewFor = 0
	s.keepDeletedFor = 0
	s.listLag, s.infoLag, s.deleted = 0, 0, nil
	for id, t := range s.tokens {
		t.usableFrom = t.created
		if !t.refusedFrom.IsZero() {
			delete(s.tokens, id)
		}
	}
}

// nextFault takes the fault that the call meets, or nil.
func (s *Server) nextFault(call Call) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.outage {
		return &Fault{Code: codes.Unavailable, Message: "the control plane is down"}
	}
	for _, key := range []string{call.Method, everyRPC} {
		queue := s.faults[key]
		i := slices.IndexFunc(queue, func(f *Fault) bool { return f.Match == nil || f.Match(call) })
		if i < 0 {
			continue
		}
		f := *queue[i]
		if queue[i].Times--; queue[i].Times == 0 {
			s.faults[key] = slices.Delete(queue, i, i+1)
		}
		return &f
	}
	return nil
}

// around does the work with the fault before or after it.
func (f *Fault) around(ctx context.Context, work func() (any, error)) (any, error) {
	if !f.AfterCommit {
		if err := f.strike(ctx); err != nil {
			return nil, err
		}
	}
	resp, err := work()
	if err != nil {
		return nil, err
	}
	if f.AfterCommit {
		if err := f.strike(ctx); err != nil {
			return nil, err
		}
	}
	if answer, ok := resp.(proto.Message); ok && f.Mangle != nil {
		f.Mangle(answer)
	}
	return resp, nil
}

// strike waits and returns the fault's error, nil when it only delays.
func (f *Fault) strike(ctx context.Context) error {
	if f.Delay > 0 {
		wait, cancel := context.WithTimeout(ctx, f.Delay)
		defer cancel()
		<-wait.Done()
		if ctx.Err() != nil {
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if f.NoContentType {
		if err := grpc.SetTrailer(ctx, metadata.Pairs(noContentType, "1")); err != nil {
			return status.Errorf(codes.Internal, "mark the answer: %v", err)
		}
		return status.Error(codes.Unimplemented, cmp.Or(f.Message, "Method not found"))
	}
	st := status.New(f.Code, f.Message)
	if f.RetryAfter <= 0 {
		return st.Err()
	}
	policy := pb.RPCRetryPolicy_builder{RetryAfterSecs: float32(f.RetryAfter.Seconds())}.Build()
	detailed, err := st.WithDetails(policy)
	if err != nil {
		return status.Errorf(codes.Internal, "attach the retry policy: %v", err)
	}
	return detailed.Err()
}

// mustExist catches the misspelt name that would make a test prove nothing.
func mustExist(method string) {
	if method != everyRPC && !slices.Contains(methods, method) {
		panic(fmt.Sprintf("modaltest: Modal has no RPC %q", method))
	}
}

var methods = func() []string {
	var names []string
	for _, m := range serviceDesc.Methods {
		names = append(names, m.MethodName)
	}
	for _, m := range serviceDesc.Streams {
		names = append(names, m.StreamName)
	}
	return names
}()
