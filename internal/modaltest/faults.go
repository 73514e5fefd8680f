// SPDX-License-Identifier: MPL-2.0

package modaltest

import (
	"context"
	"fmt"
	"slices"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// everyRPC is the method name that means all RPCs.
const everyRPC = "*"

// Fault describes a failure of the calls to which it applies.
type Fault struct {
	Code        codes.Code    // the error to answer; OK with a Delay only delays the answer
	Message     string        // the error's text
	AfterCommit bool          // do the work first: the client sees an error although the work is done
	Delay       time.Duration // wait before answering; ends early if the client goes away
	RetryAfter  time.Duration // sent as Modal's RPCRetryPolicy, usually with ResourceExhausted
	Times       int           // the number of calls to fail; 0 means 1, and -1 means all until ClearFaults

	// HTTPStatus answers with an HTTP status and a page without gRPC, as proxies and gateways do. It excludes
	// Code.
	HTTPStatus int
	// NoContentType answers without gRPC, content type and page. The HTTP status is HTTPStatus, or else 200. A
	// grpclib server answers so for a method that it does not have. It excludes Code.
	NoContentType bool

	// Match selects the calls to fail; nil selects all. Other calls continue to the next fault. Match must
	// not use the server, because the server waits for it.
	Match func(Call) bool
	// Mangle changes the answer after the work is done. It excludes Code.
	Mangle func(proto.Message)
}

// Inject adds a fault to an RPC, for example "TokenInfoGet", or to all RPCs with "*". The faults of an RPC
// apply in order, and before those of "*". Inject panics if the RPC does not exist or if the fault would
// change nothing.
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

// flaw says why the fault would test nothing. It is empty for a valid fault.
func (f *Fault) flaw() string {
	switch fails := f.Code != codes.OK || f.withoutGRPC(); {
	case !fails && f.Delay <= 0 && f.Mangle == nil:
		return "a fault needs a Code, an HTTPStatus, NoContentType, a Delay or a Mangle"
	case f.withoutGRPC() && f.Code != codes.OK:
		return "an answer without gRPC has no Code"
	case f.HTTPStatus != 0 && (f.HTTPStatus < 200 || f.HTTPStatus > 999):
		return "an HTTPStatus is a number from 200 to 999"
	case f.Code == codes.OK && f.RetryAfter > 0:
		return "RetryAfter needs a Code"
	case fails && f.Mangle != nil:
		return "a fault with a Code has no answer to Mangle"
	}
	return ""
}

// KeepDeletedFor makes the server accept tokens for another d after TokenDelete or ServiceUserDelete, as if
// Modal's servers learned of the deletion late. It applies to later deletions. Service users themselves
// disappear at once.
func (s *Server) KeepDeletedFor(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.keepDeletedFor = d
}

// RefuseNewTokensFor makes the server answer UNAUTHENTICATED to a new token during its first d, as if Modal's
// servers learned of the token late. It applies to tokens created later.
func (s *Server) RefuseNewTokensFor(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejectNewFor = d
}

// SetOutage makes every RPC UNAVAILABLE, or ends the outage.
func (s *Server) SetOutage(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.outage = down
}

// ClearFaults ends all faults, the outage and the lags. It also ends the rejection of new tokens and the
// acceptance of deleted tokens.
func (s *Server) ClearFaults() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.faults)
	s.outage = false
	s.rejectNewFor = 0
	s.keepDeletedFor = 0
	s.listLag, s.infoLag, s.deleted = 0, 0, nil
	for id, t := range s.tokens {
		t.usableFrom = t.created
		if !t.rejectedFrom.IsZero() {
			delete(s.tokens, id)
		}
	}
}

// nextFault removes and returns the fault that applies to the call. It returns nil if there is none.
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

// wrap does the work and applies the fault before or after it.
func (f *Fault) wrap(ctx context.Context, work func() (any, error)) (any, error) {
	if !f.AfterCommit {
		if err := f.apply(ctx); err != nil {
			return nil, err
		}
	}
	resp, err := work()
	if err != nil {
		return nil, err
	}
	if f.AfterCommit {
		if err := f.apply(ctx); err != nil {
			return nil, err
		}
	}
	if answer, ok := resp.(proto.Message); ok && f.Mangle != nil {
		f.Mangle(answer)
	}
	return resp, nil
}

// apply waits and returns the fault's error. The error is nil if the fault only delays the answer.
func (f *Fault) apply(ctx context.Context) error {
	if f.Delay > 0 {
		wait, cancel := context.WithTimeout(ctx, f.Delay)
		defer cancel()
		<-wait.Done()
		if ctx.Err() != nil {
			return status.FromContextError(ctx.Err()).Err()
		}
	}
	if f.withoutGRPC() {
		ctx.Value(answerKey{}).(*answer).fault = f //nolint:forcetypeassert // ServeHTTP stores it
		return status.Error(codes.Unknown, "the answer is not gRPC")
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

// mustExist panics for a misspelt RPC name, because a test with such a name would prove nothing.
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
