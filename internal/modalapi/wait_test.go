// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"errors"
	"math"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestThrottling_WaitDoesNotCountAsARetry(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	const wait, times = 150 * time.Millisecond, 5
	server.Inject(rpc, modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: wait, Times: times})

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).WhoAmI(t.Context(), token)

	require.NoError(t, err)
	calls := server.Calls(rpc)
	require.Len(t, calls, times+1)
	for i, call := range calls {
		require.Equal(t, "0", call.Header.Get("x-retry-attempt")[0])
		require.Equal(t, strconv.Itoa(i), call.Header.Get("x-throttle-retry-attempt")[0])
		if i > 0 {
			require.GreaterOrEqual(t, call.At.Sub(calls[i-1].At), wait)
		}
	}
}

func TestThrottling_LeavesAllRetriesForOtherFailures(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	server.Inject(rpc, modaltest.Fault{Code: codes.Unavailable, Times: 2})
	server.Inject(rpc, modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: time.Millisecond, Times: 2})
	server.Inject(rpc, modaltest.Fault{Code: codes.Unavailable, Times: 1})

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).WhoAmI(t.Context(), token)

	require.NoError(t, err)
	calls := server.Calls(rpc)
	require.Len(t, calls, 6)
	require.Equal(t, "3", calls[5].Header.Get("x-retry-attempt")[0])
	require.Equal(t, "2", calls[5].Header.Get("x-throttle-retry-attempt")[0])
	// The client waits at least a tenth of a second.
	require.GreaterOrEqual(t, calls[4].At.Sub(calls[3].At), 100*time.Millisecond)
}

func TestThrottling_LongerThanTheDeadlineIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	for name, code := range map[string]codes.Code{"usual code": codes.ResourceExhausted, "other code": codes.Unavailable} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, token := emulated(t)
			server.Inject(rpc, modaltest.Fault{Code: code, Message: "slow down", RetryAfter: time.Hour, Times: -1})

			_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).WhoAmI(t.Context(), token)

			var failure *modalapi.Error
			require.ErrorAs(t, err, &failure)
			require.Equal(t, modalapi.KindThrottled, failure.Kind)
			require.Equal(t, time.Hour, failure.RetryAfter)
			require.EqualError(t, err, "Modal asks to wait 1h before it can say whose token this is: slow down")
			require.Len(t, server.Calls(rpc), 1)
		})
	}
}

func TestThrottling_AbsurdWaitIsBounded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		seconds float32
		kind    modalapi.Kind
		wait    time.Duration
	}{
		"negative":     {-5, modalapi.KindNone, 0},
		"not a number": {float32(math.NaN()), modalapi.KindNone, 0},
		"infinite":     {float32(math.Inf(1)), modalapi.KindThrottled, 24 * time.Hour},
		"overflowing":  {1e30, modalapi.KindThrottled, 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Bool
			client := answering(t, func(context.Context) (*pb.TokenInfoGetResponse, error) {
				if asked.Swap(true) {
					return goodAnswer().Build(), nil
				}
				detailed, err := status.New(codes.ResourceExhausted, "slow down").
					WithDetails(pb.RPCRetryPolicy_builder{RetryAfterSecs: c.seconds}.Build())
				if err != nil {
					return nil, err
				}
				return nil, detailed.Err()
			})

			_, err := client.WhoAmI(t.Context(), someToken)

			require.Equal(t, c.kind, modalapi.KindOf(err))
			if c.kind == modalapi.KindNone {
				require.NoError(t, err)
				return
			}
			var failure *modalapi.Error
			require.ErrorAs(t, err, &failure)
			require.Equal(t, c.wait, failure.RetryAfter)
		})
	}
}

func TestThrottling_DoesNotChangeARejection(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	server.Inject(rpc, modaltest.Fault{Code: codes.Unauthenticated, RetryAfter: time.Millisecond, Times: -1})

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).WhoAmI(t.Context(), token)

	require.Equal(t, modalapi.KindRefused, modalapi.KindOf(err))
	require.Len(t, server.Calls(rpc), 1)
}

func TestTimeout_BoundsAHungCallAndNamesTimeAndHost(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	server.Inject(rpc, modaltest.Fault{Delay: time.Hour, Times: -1})

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL(), Timeout: 200 * time.Millisecond}).WhoAmI(t.Context(), token)

	require.EqualError(t, err, "Modal gave no usable answer when asked to say whose token this is: server_url "+server.URL()+" did not answer within 200ms")
	require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestTimeout_CoversRetriesAndReportsTheLastFailure(t *testing.T) {
	t.Parallel()
	inBubble(t, modalapi.Options{Timeout: time.Second}, func(b *bubble) {
		b.server.Inject(rpc, modaltest.Fault{Code: codes.Unavailable, Message: "being deployed"})
		b.server.Inject(rpc, modaltest.Fault{Delay: time.Hour, Times: -1})

		_, err := b.client.WhoAmI(b.t.Context(), b.token)

		require.ErrorContains(b.t, err, "did not answer within 1s")
		require.ErrorContains(b.t, err, "being deployed")
		require.Len(b.t, b.server.Calls(rpc), 2)
	})
}

func TestTimeout_DistinguishesTheCallersDeadline(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	server.Inject(rpc, modaltest.Fault{Delay: time.Hour, Times: -1})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).WhoAmI(ctx, token)

	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "the request's deadline passed before 127.0.0.1 answered")
}

func TestCancellation_EndsACallUnderWayOrWaiting(t *testing.T) {
	t.Parallel()
	for name, fault := range map[string]modaltest.Fault{
		"hung":      {Delay: time.Hour, Times: -1},
		"throttled": {Code: codes.ResourceExhausted, RetryAfter: 10 * time.Second, Times: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, token := emulated(t)
			server.Inject(rpc, fault)
			client := newClient(t, modalapi.Options{ServerURL: server.URL()})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() {
				_, err := client.WhoAmI(ctx, token)
				done <- err
			}()
			require.Eventually(t, func() bool { return len(server.Calls(rpc)) == 1 }, time.Minute, time.Millisecond)

			cancel()

			var err error
			require.Eventually(t, func() bool {
				select {
				case err = <-done:
					return true
				default:
					return false
				}
			}, time.Minute, time.Millisecond)
			require.ErrorIs(t, err, context.Canceled)
			require.False(t, errors.Is(err, context.DeadlineExceeded))
			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
			require.Len(t, server.Calls(rpc), 1)
		})
	}
}

func TestCancellation_BeforehandSendsNothing(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).WhoAmI(ctx, token)

	require.ErrorIs(t, err, context.Canceled)
	require.Empty(t, server.Calls(""))
}
