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

	"vault-plugin-secrets-modal/internal/duration"

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

// These constants come from Modal's Go SDK v0.11.1, client.go, except maxThrottle and deadlineMargin.
const (
	maxRetries  = 3
	retryBase   = 100 * time.Millisecond
	retryFactor = 2
	retryCap    = time.Second
	minThrottle = 100 * time.Millisecond
	// maxThrottle keeps an absurd number from Modal from overflowing a duration.
	maxThrottle = 24 * time.Hour
	// deadlineMargin is the longest time by which the server may end a call before this client does, although
	// both know the same deadline.
	deadlineMargin = 50 * time.Millisecond
)

// retryableCodes are those of Modal's Go SDK, and ABORTED: gRPC defines ABORTED as a lost race, and a retry
// may win.
var retryableCodes = map[codes.Code]bool{
	codes.Aborted:          true,
	codes.DeadlineExceeded: true,
	codes.Unavailable:      true,
	codes.Canceled:         true,
	codes.Internal:         true,
	codes.Unknown:          true,
}

// sentOnce are the calls that are never retried after an unclear failure. Modal may have done the work and
// lost the answer. The new token's secret is shown only once, and a second attempt would create a second
// service user that Vault does not track.
var sentOnce = map[string]bool{
	pb.ModalClient_ServiceUserCreate_FullMethodName: true,
}

const (
	headerID     = "x-modal-token-id"
	headerSecret = "x-modal-token-secret"
)

// withToken returns a context whose calls carry t as credentials. The metadata that the caller's context
// carries for another server is dropped.
//
// A malformed token is refused here and never sent: Modal would reject it, and that would prove nothing about
// the operator's real token.
func withToken(ctx context.Context, t Token) (context.Context, error) {
	t, _, err := ParseToken(t.ID, t.Secret)
	if err != nil {
		return nil, fmt.Errorf("Modal was not called, because the token is malformed: %w", err)
	}
	return metadata.NewOutgoingContext(ctx, metadata.Pairs(
		headerID, t.ID,
		headerSecret, t.Secret,
	)), nil
}

// intercept runs every unary call: it sets the deadline, adds headers, retries, and converts every failure to
// an *Error.
func (c *Client) intercept(ctx context.Context, method string, req, reply any,
	conn *grpc.ClientConn, invoker grpc.UnaryInvoker, opts ...grpc.CallOption,
) error {
	bounded, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	// All attempts share one key, as in Modal's clients. Assumed: Modal uses the key to recognize a retry.
	carried, _ := metadata.FromOutgoingContext(ctx)
	secrets := slices.Concat(carried.Get(headerSecret), secretsIn(req))
	labelled := metadata.AppendToOutgoingContext(bounded, append([]string{"x-idempotency-key", uuid.NewString()}, c.headers...)...)
	var trailer metadata.MD
	attempts := attempts{rpc: path.Base(method), sentOnce: sentOnce[method], server: c.server, secrets: secrets, limit: limitOf(reply)}
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
			return struct{}{}, backoff.Permanent(c.badAnswer(attempts.rpc, answer.flaw.Error()))
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

// answerKey is the context key of the flag that records whether an attempt's answer came over gRPC.
type answerKey struct{}

// withAnswer returns a context for one attempt and the flag that becomes true if the answer comes over gRPC.
func withAnswer(ctx context.Context) (context.Context, *atomic.Bool) {
	overGRPC := new(atomic.Bool)
	return context.WithValue(ctx, answerKey{}, overGRPC), overGRPC
}

// answerWatch is a stats handler that records which attempts were answered over gRPC. grpc-go reports trailers
// only for such answers.
type answerWatch struct{}

func (answerWatch) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context   { return ctx }
func (answerWatch) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (answerWatch) HandleConn(context.Context, stats.ConnStats)                       {}

func (answerWatch) HandleRPC(ctx context.Context, event stats.RPCStats) {
	overGRPC, ok := ctx.Value(answerKey{}).(*atomic.Bool)
	if _, trailers := event.(*stats.InTrailer); trailers && ok {
		overGRPC.Store(true)
	}
}

// secretsIn returns the secrets of a request or an answer, because Modal may repeat them in its texts. They
// include the ID and the code of a token flow: the ID is part of the link to the page on which a person
// approves.
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

// attempts contains the state of one call across its attempts.
type attempts struct {
	rpc    string
	server string // the server's URL, for messages
	// sentOnce allows another attempt only if Modal says that it did not do the first one.
	sentOnce           bool
	retries, throttles int
	secrets            []string
	limit              int // the largest allowed size of the answer in bytes
	// last is the most recent failure other than an exceeded deadline or a cancellation.
	last *Error
}

func (a *attempts) label(ctx context.Context) context.Context {
	return metadata.AppendToOutgoingContext(ctx,
		"x-retry-attempt", strconv.Itoa(a.retries),
		"x-throttle-retry-attempt", strconv.Itoa(a.throttles))
}

// failed converts err to the form that tells the backoff package what to do next: wait as long as Modal asks,
// retry, or stop. A wait that Modal asks for does not count as a retry (Modal's Go SDK v0.11.1, client.go).
func (a *attempts) failed(ctx context.Context, err error, overGRPC bool) error {
	failure := a.newError(err, overGRPC)
	failure.Tried = a.sentOnce && a.throttles > 0
	code := status.Code(err)
	switch {
	case code != codes.Canceled && code != codes.DeadlineExceeded:
		a.last = failure
	case !fits(ctx, deadlineMargin):
		<-ctx.Done()
	}
	if wait, asked := throttle(err); asked && (!a.sentOnce || code == codes.ResourceExhausted) {
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
	transient := retryableCodes[code] && failure.Kind != KindUnsupported || failure.HTTPStatus != 0 && failure.Kind == KindUnavailable
	if a.sentOnce || a.retries == maxRetries || !transient {
		return backoff.Permanent(failure)
	}
	a.retries++
	return failure
}

// mayHideSuccess reports whether Modal may have done the work of a failed call that is sent once.
// RESOURCE_EXHAUSTED can come from the server's gRPC library after the work, if the answer is too large; only
// Modal's own RESOURCE_EXHAUSTED asks for a wait. If a name exists after a throttled attempt, that attempt
// may have created it.
func (a *attempts) mayHideSuccess(code codes.Code) bool {
	return a.sentOnce && (code == codes.ResourceExhausted || code == codes.AlreadyExists && a.throttles > 0)
}

func (c *Client) newBackOff() backoff.BackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.MaxInterval = c.retryWait, retryFactor, retryCap
	b.RandomizationFactor = 0 // the package's own random source takes no seed
	return &jittered{b, c.jitter}
}

// jittered changes each wait by up to half its length.
type jittered struct {
	*backoff.ExponentialBackOff
	jitter func() float64
}

func (b *jittered) NextBackOff() time.Duration {
	return time.Duration(float64(b.ExponentialBackOff.NextBackOff()) * (0.5 + b.jitter()))
}

// interrupted returns the error of a call that ended before Modal answered. ctx is the caller's context.
func (c *Client) interrupted(ctx context.Context, a *attempts) *Error {
	failure := &Error{Kind: KindUnavailable, RPC: a.rpc, cause: ctx.Err()}
	switch {
	case errors.Is(failure.cause, context.Canceled):
		failure.Message = "the request was cancelled before " + c.host + " answered"
	case failure.cause != nil:
		failure.Message = "the request's deadline passed before " + c.host + " answered"
	default:
		failure.cause = context.DeadlineExceeded
		failure.Message = fmt.Sprintf("server_url %s did not answer within %s", c.server, duration.Format(c.timeout))
	}
	if a.last != nil {
		failure.Message = clip(failure.Message+"; the last answer was: "+a.last.Message, maxText)
	}
	return failure
}

// throttle returns how long Modal asks to wait before the next attempt, if Modal asks for that. It ignores
// the request if the failure is not transient.
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

// throttleWait converts any number of seconds, also a negative one or NaN, to a bounded duration.
func throttleWait(seconds float64) time.Duration {
	if seconds > maxThrottle.Seconds() {
		return maxThrottle
	}
	if seconds > minThrottle.Seconds() {
		return time.Duration(seconds * float64(time.Second))
	}
	return minThrottle
}

// fits reports whether a wait ends before the deadline of ctx. The context package compares the two times, so
// this package reads no clock.
func fits(ctx context.Context, wait time.Duration) bool {
	waiting, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	deadline, _ := ctx.Deadline()
	end, _ := waiting.Deadline()
	return end.Before(deadline)
}
