// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/google/uuid"
	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

// Those of Modal's Go SDK v0.11.1, client.go.
const (
	maxRetries  = 3
	retryBase   = 100 * time.Millisecond
	retryFactor = 2
	retryCap    = time.Second
	minThrottle = 100 * time.Millisecond
	// maxThrottle is ours: it keeps a nonsensical number from overflowing a duration.
	maxThrottle = 24 * time.Hour
	// hangUp is how much earlier than our own time the server may end a call at the deadline that
	// both know.
	hangUp = 50 * time.Millisecond
)

var retryableCodes = map[codes.Code]bool{
	codes.Aborted:          true, // ours: gRPC's word for a race that was lost, which a retry may win
	codes.DeadlineExceeded: true,
	codes.Unavailable:      true,
	codes.Canceled:         true,
	codes.Internal:         true,
	codes.Unknown:          true,
}

// calledOnce are the calls whose failure may hide a success that no second attempt could repeat: a
// secret is revealed once, and a second service user would be nobody's.
var calledOnce = map[string]bool{
	pb.ModalClient_ServiceUserCreate_FullMethodName: true,
}

const (
	headerID     = "x-modal-token-id"
	headerSecret = "x-modal-token-secret"
)

// as returns a context whose calls are made with t, and with nothing that the caller's own context
// may have carried for another server. A malformed token is not sent at all: Modal's refusal of it
// would prove nothing about the token that was meant.
func as(ctx context.Context, t Token) (context.Context, error) {
	t, _, err := ParseToken(t.ID, t.Secret)
	if err != nil {
		return nil, fmt.Errorf("calling Modal with a malformed token: %w", err)
	}
	return metadata.NewOutgoingContext(ctx, metadata.Pairs(
		headerID, t.ID,
		headerSecret, t.Secret,
	)), nil
}

// intercept is the one way a unary call goes: bounded in time, labelled, retried, and with every
// failure turned into an *Error.
func (c *Client) intercept(ctx context.Context, method string, req, reply any,
	conn *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// One key for all attempts, as in Modal's clients. Assumed: by it Modal tells a retry from a new call.
	carried, _ := metadata.FromOutgoingContext(ctx)
	secrets := slices.Concat(carried.Get(headerSecret), secretsIn(req))
	labelled := metadata.AppendToOutgoingContext(bounded, append([]string{"x-idempotency-key", uuid.NewString()}, c.headers...)...)
	var trailer metadata.MD
	attempts := attempts{rpc: path.Base(method), once: calledOnce[method], server: c.server, secrets: secrets, limit: limitOf(reply)}
	withTrailer := append([]grpc.CallOption{grpc.Trailer(&trailer), grpc.MaxCallRecvMsgSize(attempts.limit)}, opts...)

	_, err := backoff.Retry(bounded, func() (struct{}, error) {
		attempt, overGRPC := withAnswer(attempts.label(labelled))
		var answer reader
		err := invoker(attempt, method, req, reply, conn, append(withTrailer, grpc.ForceCodecV2(&answer))...)
		if err == nil {
			attempts.secrets = slices.Concat(secrets, secretsIn(reply))
		}
		c.warnings.pass(trailer, attempts.secrets)
		switch {
		case err == nil && answer.flaw != nil:
			return struct{}{}, backoff.Permanent(c.distrust(attempts.rpc, answer.flaw.Error()))
		case err == nil:
			return struct{}{}, nil
		case conn.GetState() == connectivity.Shutdown:
			return struct{}{}, backoff.Permanent(attempts.newError(err, overGRPC.Load()))
		default:
			return struct{}{}, attempts.failed(bounded, err, overGRPC.Load())
		}
	}, backoff.WithBackOff(c.newBackOff()), backoff.WithMaxElapsedTime(0))
	if err == nil {
		return nil
	}
	var failure *Error
	if errors.As(err, &failure) && (bounded.Err() == nil || failure.Kind != KindUnavailable) {
		return failure
	}
	return c.interrupted(ctx, &attempts)
}

// answerKey is the context key under which an attempt finds out whether its answer came over gRPC.
type answerKey struct{}

// withAnswer returns a context for one attempt, and whether its answer came over gRPC.
func withAnswer(ctx context.Context) (context.Context, *atomic.Bool) {
	overGRPC := new(atomic.Bool)
	return context.WithValue(ctx, answerKey{}, overGRPC), overGRPC
}

// answers notes which attempts were answered over gRPC: grpc-go reports trailers only then.
type answers struct{}

func (answers) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (answers) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (answers) HandleConn(context.Context, stats.ConnStats)                       {}

func (answers) HandleRPC(ctx context.Context, event stats.RPCStats) {
	overGRPC, ours := ctx.Value(answerKey{}).(*atomic.Bool)
	if _, trailers := event.(*stats.InTrailer); trailers && ours {
		overGRPC.Store(true)
	}
}

// secretsIn returns the secrets of a request or an answer, which Modal may repeat in its texts. The ID and
// the code of a token flow are among them: the ID is the link to the page on which a person approves.
func secretsIn(message any) (secrets []string) {
	if of, ok := message.(interface{ GetTokenSecret() string }); ok {
		secrets = append(secrets, of.GetTokenSecret())
	}
	if of, ok := message.(interface{ GetWaitSecret() string }); ok {
		secrets = append(secrets, of.GetWaitSecret())
	}
	if of, ok := message.(interface{ GetTokenFlowId() string }); ok {
		secrets = append(secrets, of.GetTokenFlowId())
	}
	if of, ok := message.(interface{ GetCode() string }); ok {
		secrets = append(secrets, of.GetCode())
	}
	return secrets
}

// attempts are what one call has tried so far.
type attempts struct {
	rpc    string
	server string // where the call goes, for messages
	// once leaves no second attempt but after Modal's word that the first one was not done.
	once               bool
	retries, throttles int
	secrets            []string
	limit              int // how many bytes the answer may have
	// last is the last failure that was more than the end of somebody's patience.
	last *Error
}

func (a *attempts) label(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx,
		"x-retry-attempt", strconv.Itoa(a.retries),
		"x-throttle-retry-attempt", strconv.Itoa(a.throttles))
}

// failed returns err in the form that tells the backoff package what follows: a wait of Modal's
// choice, a retry, or nothing. A wait is not counted as a retry (Modal's Go SDK v0.11.1, client.go).
func (a *attempts) failed(ctx context.Context, err error, overGRPC bool) error {
	failure := a.newError(err, overGRPC)
	failure.Tried = a.once && a.throttles > 0
	code := status.Code(err)
	switch {
	case code != codes.Canceled && code != codes.DeadlineExceeded:
		a.last = failure
	case !fits(ctx, hangUp):
		<-ctx.Done()
	}
	if wait, asked := throttle(err); asked && (!a.once || code == codes.ResourceExhausted) {
		failure.Kind, failure.RetryAfter = KindThrottled, wait
		if !fits(ctx, wait) {
			return backoff.Permanent(failure)
		}
		a.throttles++
		return &backoff.RetryAfterError{Duration: wait}
	}
	if a.mayHideSuccess(code) {
		failure.Kind = KindUnavailable
	}
	passing := retryableCodes[code] && failure.Kind != KindUnsupported || failure.HTTPStatus != 0 && failure.Kind == KindUnavailable
	if a.once || a.retries == maxRetries || !passing {
		return backoff.Permanent(failure)
	}
	a.retries++
	return failure
}

// mayHideSuccess reports whether the failure of a call made once leaves open that its work was done. A
// server's gRPC library has RESOURCE_EXHAUSTED for an answer that is too large, and only Modal's carries a
// wait. A name that exists after a throttled attempt may be that attempt's.
func (a *attempts) mayHideSuccess(code codes.Code) bool {
	return a.once && (code == codes.ResourceExhausted || code == codes.AlreadyExists && a.throttles > 0)
}

func (c *Client) newBackOff() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval = retryBase, retryFactor, retryCap
	b.RandomizationFactor = 0 // the package's own luck takes no seed
	return &jittered{b, c.jitter}
}

// jittered makes each wait up to a half shorter or longer.
type jittered struct {
	*backoff.ExponentialBackOff
	jitter func() float64
}

func (b *jittered) NextBackOff() time.Duration {
	return time.Duration(float64(b.ExponentialBackOff.NextBackOff()) * (0.5 + b.jitter()))
}

// interrupted is the error of a call that ended before Modal answered; ctx is the caller's.
func (c *Client) interrupted(ctx context.Context, a *attempts) *Error {
	failure := &Error{Kind: KindUnavailable, RPC: a.rpc, cause: ctx.Err()}
	switch {
	case errors.Is(failure.cause, context.Canceled):
		failure.Message = "the caller gave up before " + c.host + " answered"
	case failure.cause != nil:
		failure.Message = "the caller's deadline passed before " + c.host + " answered"
	default:
		failure.cause = context.DeadlineExceeded
		failure.Message = fmt.Sprintf("server_url %s did not answer within %s", c.server, spell(c.timeout))
	}
	if a.last != nil {
		failure.Message = clip(failure.Message+"; the last answer was: "+a.last.Message, maxText)
	}
	return failure
}

// throttle returns how long Modal asks to wait before the same call is tried again, if it does. Only
// a passing failure counts: a refusal stays one whatever is attached to it.
func throttle(err error) (wait time.Duration, asked bool) {
	answer := status.Convert(err)
	if answer.Code() != codes.ResourceExhausted && !retryableCodes[answer.Code()] {
		return 0, false
	}
	for _, detail := range answer.Details() {
		if policy, ok := detail.(*pb.RPCRetryPolicy); ok {
			return throttleWait(float64(policy.GetRetryAfterSecs())), true
		}
	}
	return 0, false
}

// throttleWait makes a bounded duration of any number of seconds, negative ones and NaN included.
func throttleWait(seconds float64) time.Duration {
	if seconds > maxThrottle.Seconds() {
		return maxThrottle
	}
	if seconds > minThrottle.Seconds() {
		return time.Duration(seconds * float64(time.Second))
	}
	return minThrottle
}

// fits reports whether a wait ends before the deadline of ctx: the context package keeps the earlier
// of the two, so no clock of our own is asked.
func fits(ctx context.Context, wait time.Duration) bool {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	deadline, _ := ctx.Deadline()
	end, _ := waiting.Deadline()
	return end.Before(deadline)
}
