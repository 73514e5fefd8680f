// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"math"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

const createRPC = "ServiceUserCreate"

var ci = modalapi.NewServiceUser{Name: "ci", Scoped: true}

func TestCreateServiceUser_ReturnsATokenThatModalAccepts(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, want := range map[string]modalapi.NewServiceUser{
		"scoped":   {Name: "ci", Scoped: true, ExpiresIn: 90 * time.Minute},
		"unscoped": {Name: "ci"},
		"longest":  {Name: "ci", ExpiresIn: math.MaxUint32 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t, modaltest.WithClock(func() time.Time { return now }))
			client := newClient(t, modalapi.Options{ServerURL: server.URL()})
			expires := time.Time{}
			if want.ExpiresIn > 0 {
				expires = now.Add(want.ExpiresIn)
			}

			minted, err := client.CreateServiceUser(t.Context(), admin, want)

			require.NoError(t, err)
			require.Empty(t, minted.Flaw())
			require.Equal(t, expires, minted.ExpiresAt)
			made := server.ServiceUsers()
			require.Len(t, made, 1)
			require.Equal(t, minted.ID, made[0].ID)
			require.Equal(t, minted.Token.ID, made[0].TokenID)
			require.Equal(t, want.Name, made[0].Name)
			require.Equal(t, want.Scoped, made[0].Scoped)
			require.True(t, expires.Equal(made[0].Expires))
			who, err := client.WhoAmI(t.Context(), minted.Token)
			require.NoError(t, err)
			require.Equal(t, modalapi.IdentityServiceUser, who.Kind)
			require.Equal(t, minted.ID, who.ID)
		})
	}
}

func TestCreateServiceUser_AmbiguousFailureIsUnavailableAfterOneAttempt(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{
		codes.DeadlineExceeded, codes.Unavailable, codes.Canceled, codes.Internal, codes.Unknown, codes.DataLoss, codes.Aborted,
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t)
			server.Inject(createRPC, modaltest.Fault{Code: code, Message: "lost", AfterCommit: true})

			_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).CreateServiceUser(t.Context(), admin, ci)

			require.EqualError(t, err, "Modal gave no usable answer when asked to create the service user: lost")
			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
			require.Len(t, server.Calls(createRPC), 1)
			require.Len(t, server.ServiceUsers(), 1)
		})
	}
}

// Only RESOURCE_EXHAUSTED means that Modal did no work.
func TestCreateServiceUser_AmbiguousFailureWithAWaitIsNotRepeated(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.Internal, codes.Unknown} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t)
			server.Inject(createRPC, modaltest.Fault{Code: code, AfterCommit: true, RetryAfter: time.Millisecond, Times: -1})

			_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).CreateServiceUser(t.Context(), admin, ci)

			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
			require.Len(t, server.Calls(createRPC), 1)
		})
	}
}

func TestCreateServiceUser_ThrottleIsRetriedUnderOneIdempotencyKey(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	const wait, times = 150 * time.Millisecond, 3
	server.Inject(createRPC, modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: wait, Times: times})

	minted, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).CreateServiceUser(t.Context(), admin, ci)

	require.NoError(t, err)
	require.Empty(t, minted.Flaw())
	calls := server.Calls(createRPC)
	require.Len(t, calls, times+1)
	for i, call := range calls {
		require.Equal(t, []string{"0"}, call.Header.Get("x-retry-attempt"))
		require.Equal(t, []string{strconv.Itoa(i)}, call.Header.Get("x-throttle-retry-attempt"))
		require.Len(t, call.Header.Get("x-idempotency-key"), 1)
		require.Equal(t, calls[0].Header.Get("x-idempotency-key"), call.Header.Get("x-idempotency-key"))
		if i > 0 {
			require.GreaterOrEqual(t, call.At.Sub(calls[i-1].At), wait)
		}
	}
	require.Len(t, server.ServiceUsers(), 1)
}

func TestCreateServiceUser_FailureAfterAThrottleIsFinal(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	server.Inject(createRPC, modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: time.Millisecond})
	server.Inject(createRPC, modaltest.Fault{Code: codes.Unavailable, Times: -1})

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).CreateServiceUser(t.Context(), admin, ci)

	require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
	require.Len(t, server.Calls(createRPC), 2)
}

func TestCreateServiceUser_ThrottleLongerThanTheDeadlineIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	server.Inject(createRPC, modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: time.Hour, Times: -1})

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).CreateServiceUser(t.Context(), admin, ci)

	var failure *modalapi.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, modalapi.KindThrottled, failure.Kind)
	require.Equal(t, time.Hour, failure.RetryAfter)
	require.Len(t, server.Calls(createRPC), 1)
	require.Empty(t, server.ServiceUsers())
}

func TestCreateServiceUser_FailureThatMayHideASuccessIsUnavailable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		fault modaltest.Fault
		calls int
	}{
		"exhausted without a wait": {modaltest.Fault{Code: codes.ResourceExhausted, AfterCommit: true}, 1},
		"exists after a throttle":  {modaltest.Fault{Code: codes.ResourceExhausted, AfterCommit: true, RetryAfter: time.Millisecond}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t)
			server.Inject(createRPC, c.fault)

			_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).CreateServiceUser(t.Context(), admin, ci)

			require.Equal(t, modalapi.KindUnavailable.String(), modalapi.KindOf(err).String())
			require.Len(t, server.Calls(createRPC), c.calls)
			require.Len(t, server.ServiceUsers(), 1)
		})
	}
}

// The throttled attempt may have done the work, whatever Modal answers to the next one.
func TestCreateServiceUser_RefusalAfterAThrottleMayHideASuccess(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.PermissionDenied, codes.FailedPrecondition, codes.Unauthenticated, codes.Unimplemented} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t)
			server.Inject(createRPC, modaltest.Fault{Code: codes.ResourceExhausted, AfterCommit: true, RetryAfter: time.Millisecond})
			server.Inject(createRPC, modaltest.Fault{Code: code, Times: -1})
			client := newClient(t, modalapi.Options{ServerURL: server.URL()})

			_, err := client.CreateServiceUser(t.Context(), admin, ci)

			require.True(t, modalapi.MayBeDone(err), "%v", err)
			require.Len(t, server.ServiceUsers(), 1)
			_, err = client.CreateServiceUser(t.Context(), admin, modalapi.NewServiceUser{Name: "cd"})
			require.False(t, modalapi.MayBeDone(err), "another call was not throttled")
		})
	}
}

func TestCreateServiceUser_ExceededDeadlineIsUnavailable(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		timeout time.Duration
		limit   func(context.Context, *modaltest.Server) (context.Context, context.CancelFunc)
		cause   error
	}{
		"own timeout": {timeout: time.Second, limit: unlimited, cause: context.DeadlineExceeded},
		"caller's deadline": {
			limit: func(ctx context.Context, _ *modaltest.Server) (context.Context, context.CancelFunc) {
				return context.WithTimeout(ctx, time.Second)
			},
			cause: context.DeadlineExceeded,
		},
		"caller gone": {limit: cancelledOnceCreated, cause: context.Canceled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t)
			server.Inject(createRPC, modaltest.Fault{AfterCommit: true, Delay: time.Hour, Times: -1})
			client := newClient(t, modalapi.Options{ServerURL: server.URL(), Timeout: c.timeout})
			ctx, cancel := c.limit(t.Context(), server)
			defer cancel()

			_, err := client.CreateServiceUser(ctx, admin, ci)

			require.ErrorIs(t, err, c.cause)
			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
			require.Len(t, server.Calls(createRPC), 1)
			require.Len(t, server.ServiceUsers(), 1)
		})
	}
}

func unlimited(ctx context.Context, _ *modaltest.Server) (context.Context, context.CancelFunc) {
	return context.WithCancel(ctx)
}

func cancelledOnceCreated(ctx context.Context, server *modaltest.Server) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	poll := time.NewTicker(time.Millisecond)
	go func() {
		defer poll.Stop()
		for len(server.ServiceUsers()) == 0 {
			select {
			case <-ctx.Done():
				return
			case <-poll.C:
			}
		}
		cancel()
	}()
	return ctx, cancel
}

func TestCreateServiceUser_RefusalIsFinalAndKeepsModalsText(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		prepare func(*modaltest.Server, *modaltest.Workspace)
		user    modalapi.NewServiceUser
		kind    modalapi.Kind
	}{
		"name taken":   {func(_ *modaltest.Server, w *modaltest.Workspace) { w.AddServiceUser("ci") }, ci, modalapi.KindExists},
		"name no name": {func(*modaltest.Server, *modaltest.Workspace) {}, modalapi.NewServiceUser{Name: "C I"}, modalapi.KindInvalid},
		"name missing": {func(*modaltest.Server, *modaltest.Workspace) {}, modalapi.NewServiceUser{}, modalapi.KindInvalid},
		"plan too low": {func(_ *modaltest.Server, w *modaltest.Workspace) { w.SetServiceUsers(false) }, ci, modalapi.KindConflict},
		"plain member": {func(_ *modaltest.Server, w *modaltest.Workspace) { w.Member("ada").SetRole(modaltest.RoleUser) }, ci, modalapi.KindForbidden},
		"token gone":   {func(s *modaltest.Server, _ *modaltest.Workspace) { s.DeleteToken(s.Tokens()[0].ID) }, ci, modalapi.KindRefused},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t)
			c.prepare(server, server.Workspace("acme"))
			before := len(server.ServiceUsers())

			_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).CreateServiceUser(t.Context(), admin, c.user)

			require.Equal(t, c.kind.String(), modalapi.KindOf(err).String())
			var failure *modalapi.Error
			require.ErrorAs(t, err, &failure)
			require.NotEmpty(t, failure.Message)
			require.Len(t, server.Calls(createRPC), 1)
			require.Len(t, server.ServiceUsers(), before)
		})
	}
}

func TestCreateServiceUser_ModalWithoutServiceUsersIsUnsupported(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	server.Inject(createRPC, modaltest.Fault{Code: codes.Unimplemented, Message: "not on this plan"})

	_, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).CreateServiceUser(t.Context(), admin, ci)

	require.EqualError(t, err, "Modal does not know how to create the service user: not on this plan")
}

func TestCreateServiceUser_InvalidExpiryIsNotSent(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})

	for _, expiresIn := range []time.Duration{
		-time.Second, time.Millisecond, 1500 * time.Millisecond, (math.MaxUint32 + 1) * time.Second, math.MinInt64, math.MaxInt64,
	} {
		_, err := client.CreateServiceUser(t.Context(), admin, modalapi.NewServiceUser{Name: "ci", ExpiresIn: expiresIn})
		require.ErrorContains(t, err, expiresIn.String())
		require.Equal(t, modalapi.KindNone, modalapi.KindOf(err))
	}
	require.Empty(t, server.Calls(""))
}
