// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"context"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// ensureEnvironment makes a call whose work leaves a visible result.
func ensureEnvironment(ctx context.Context, client pb.ModalClientClient, creation pb.ObjectCreationType) error {
	_, err := client.EnvironmentGetOrCreate(ctx, pb.EnvironmentGetOrCreateRequest_builder{
		DeploymentName: "dev", ObjectCreationType: creation,
	}.Build())
	return err
}

const (
	lookUp = pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED
	create = pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_IF_MISSING
)

func TestInject_FailsTheNextCallOnceWithoutTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := withToken(t, w.token)
	w.server.Inject("EnvironmentGetOrCreate", modaltest.Fault{Code: codes.Internal, Message: "broken"})
	require.NoError(t, whoAmI(ctx, w.client), "other RPCs still work")
	err := ensureEnvironment(ctx, w.client, create)
	requireCode(t, codes.Internal, err)
	require.Equal(t, "broken", status.Convert(err).Message())
	requireCode(t, codes.NotFound, ensureEnvironment(ctx, w.client, lookUp))
}

func TestInject_AfterCommitDoesTheWorkAndThenFails(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := withToken(t, w.token)
	w.server.Inject("EnvironmentGetOrCreate", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true})
	requireCode(t, codes.Unavailable, ensureEnvironment(ctx, w.client, create))
	require.NoError(t, ensureEnvironment(ctx, w.client, lookUp))
}

func TestInject_AfterCommitReportsWhyTheWorkFailed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.Inject("*", modaltest.Fault{Code: codes.Internal, AfterCommit: true})
	requireRejected(t, whoAmI(withToken(t, modaltest.Token{}), w.client), "Token missing")
}

func TestInject_FailsTheGivenNumberOfCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := withToken(t, w.token)
	w.server.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Internal, Times: 2})
	w.server.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Aborted})
	w.server.Inject("*", modaltest.Fault{Code: codes.DataLoss, Times: -1})
	for _, want := range []codes.Code{codes.Internal, codes.Internal, codes.Aborted, codes.DataLoss, codes.DataLoss} {
		requireCode(t, want, whoAmI(ctx, w.client))
	}
	w.server.ClearFaults()
	require.NoError(t, whoAmI(ctx, w.client))
}

func TestInject_RetryAfterArrivesAsModalsRetryPolicy(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.Inject("TokenInfoGet", modaltest.Fault{Code: codes.ResourceExhausted, RetryAfter: 1500 * time.Millisecond})
	err := whoAmI(withToken(t, w.token), w.client)
	requireCode(t, codes.ResourceExhausted, err)
	details := status.Convert(err).Details()
	require.Len(t, details, 1)
	policy, ok := details[0].(*pb.RPCRetryPolicy)
	require.True(t, ok, "%T", details[0])
	require.InDelta(t, 1.5, policy.GetRetryAfterSecs(), 0.001)
}

func TestInject_DelayEndsWhenTheClientGoesAway(t *testing.T) {
	t.Parallel()
	for name, afterCommit := range map[string]bool{"before the work": false, "after the work": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.server.Inject("EnvironmentGetOrCreate", modaltest.Fault{Delay: time.Hour, AfterCommit: afterCommit})
			ctx, leave := context.WithCancel(withToken(t, w.token))
			left := make(chan error, 1)
			go func() { left <- ensureEnvironment(ctx, w.client, create) }()
			answered := func() []modaltest.Call { return w.server.Calls("EnvironmentGetOrCreate") }
			require.Eventually(t, func() bool { return len(answered()) == 1 }, time.Minute, time.Millisecond)
			require.Equal(t, codes.Unknown, answered()[0].Code, "not answered yet")
			leave()
			requireCode(t, codes.Canceled, <-left)
			require.Eventually(t, func() bool { return answered()[0].Code == codes.Canceled }, time.Minute, time.Millisecond)

			want := codes.NotFound
			if afterCommit {
				want = codes.OK
			}
			requireCode(t, want, ensureEnvironment(withToken(t, w.token), w.client, lookUp))
		})
	}
}

func TestInject_DelayAloneAnswersLate(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const delay = 50 * time.Millisecond
	w.server.Inject("TokenInfoGet", modaltest.Fault{Delay: delay})
	start := time.Now()
	require.NoError(t, whoAmI(withToken(t, w.token), w.client))
	require.GreaterOrEqual(t, time.Since(start), delay)
}

func TestInject_RefusesFaultsThatTestNothing(t *testing.T) {
	t.Parallel()
	s := modaltest.Start(t)
	require.Panics(t, func() { s.Inject("TokenInfoGte", modaltest.Fault{Code: codes.Internal}) })
	require.Panics(t, func() { s.Inject("TokenInfoGet", modaltest.Fault{}) })
	require.Panics(t, func() { s.Inject("TokenInfoGet", modaltest.Fault{Delay: 1, RetryAfter: 1}) })
	require.Panics(t, func() {
		s.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Internal, Mangle: func(proto.Message) {}})
	})
	require.Panics(t, func() { s.Calls("TokenInfoGte") })
}

func TestInject_MangleChangesTheAnswerAfterTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	done := make(chan int, 1)
	w.server.Inject("ServiceUserCreate", modaltest.Fault{Mangle: func(m proto.Message) {
		done <- len(w.server.ServiceUsers())
		m.(*pb.ServiceUserCreateResponse).SetTokenSecret("")
	}})
	token, _ := w.mint(t, "ci")
	require.Empty(t, token.Secret)
	require.Equal(t, 1, <-done, "Mangle comes after the work, and may use the server")
	require.Equal(t, token.ID, w.server.ServiceUsers()[0].TokenID)
	token, _ = w.mint(t, "ci-2")
	require.NotEmpty(t, token.Secret)

	w.server.Inject("ServiceUserInfo", modaltest.Fault{Delay: 1, Times: 2, Mangle: func(m proto.Message) {
		m.(*pb.ServiceUserInfoResponse).GetServiceUser().SetScoped(false)
	}})
	_, err := w.describe(t, "nobody")
	requireCode(t, codes.NotFound, err)
	for _, want := range []bool{false, true} {
		user, err := w.describe(t, "ci")
		require.NoError(t, err)
		require.Equal(t, want, user.GetScoped(), "the state itself is whole")
	}
}

func TestInject_MatchSelectsTheCalls(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.owner.NewToken()
	w.server.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Aborted, Times: 2, Match: func(c modaltest.Call) bool {
		return c.TokenID != w.token.ID
	}})
	w.server.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Internal})
	requireCode(t, codes.Internal, whoAmI(withToken(t, w.token), w.client))
	require.NoError(t, whoAmI(withToken(t, w.token), w.client))
	requireCode(t, codes.Aborted, whoAmI(withToken(t, other), w.client))
	require.NoError(t, whoAmI(withToken(t, w.token), w.client))
	requireCode(t, codes.Aborted, whoAmI(withToken(t, other), w.client))
	require.NoError(t, whoAmI(withToken(t, other), w.client))
}

func TestInject_FailedCreationCanLeaveAServiceUser(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.DeadlineExceeded, AfterCommit: true})
	_, err := w.client.ServiceUserCreate(withToken(t, w.token), pb.ServiceUserCreateRequest_builder{Name: "ci"}.Build())
	requireCode(t, codes.DeadlineExceeded, err)
	require.Equal(t, []string{"ci"}, w.server.Orphans(nil))
	w.server.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Unimplemented})
	_, err = w.client.ServiceUserCreate(withToken(t, w.token), pb.ServiceUserCreateRequest_builder{Name: "ci-2"}.Build())
	requireCode(t, codes.Unimplemented, err)
	require.Len(t, w.server.ServiceUsers(), 1)
}

func TestKeepDeletedFor_DeletedTokenStaysAcceptedForAWhile(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	w.server.KeepDeletedFor(time.Minute)
	token, id := w.mint(t, "ci")
	require.NoError(t, w.remove(t, id))
	_, err := w.describe(t, "ci")
	requireCode(t, codes.NotFound, err)
	requireCode(t, codes.NotFound, w.remove(t, id))
	require.Empty(t, w.server.ServiceUsers())
	require.Len(t, w.server.Tokens(), 1, "only the owner's token is left")
	require.False(t, w.server.DeleteToken(token.ID))
	c.Advance(time.Minute - time.Nanosecond)
	require.NoError(t, whoAmI(withToken(t, token), w.client))
	require.True(t, w.server.Accepts(token.ID, token.Secret))
	c.Advance(time.Nanosecond)
	requireRejected(t, whoAmI(withToken(t, token), w.client), "Token not found")
	require.False(t, w.server.Accepts(token.ID, token.Secret))

	token, id = w.mint(t, "ci")
	require.NoError(t, w.remove(t, id))
	require.True(t, w.server.Accepts(token.ID, token.Secret))
	w.server.ClearFaults()
	require.False(t, w.server.Accepts(token.ID, token.Secret))
	token, id = w.mint(t, "ci")
	require.NoError(t, w.remove(t, id))
	require.False(t, w.server.Accepts(token.ID, token.Secret))
}

func TestSetOutage_EveryRPCIsUnavailableUntilItEnds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := withToken(t, w.token)
	w.server.SetOutage(true)
	requireCode(t, codes.Unavailable, whoAmI(ctx, w.client))
	requireCode(t, codes.Unavailable, ensureEnvironment(ctx, w.client, create))
	w.server.SetOutage(false)
	requireCode(t, codes.NotFound, ensureEnvironment(ctx, w.client, lookUp))
	w.server.SetOutage(true)
	w.server.ClearFaults()
	require.NoError(t, whoAmI(ctx, w.client))
}

func TestClose_EndsCallsInFlight(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.Inject("TokenInfoGet", modaltest.Fault{Delay: time.Hour})
	ctx := withToken(t, w.token)
	ended := make(chan error, 1)
	go func() { ended <- whoAmI(ctx, w.client) }()
	require.Eventually(t, func() bool { return len(w.server.Calls("")) == 1 }, time.Minute, time.Millisecond)
	w.server.Close()
	requireCode(t, codes.Unavailable, <-ended)
}
