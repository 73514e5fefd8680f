// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// withoutToken returns a context with the headers of a client that has no token yet.
func withoutToken(t *testing.T) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(), "x-modal-client-type", "9", "x-modal-client-version", "1.0.0")
}

func (w *world) beginFlow(t *testing.T, req pb.TokenFlowCreateRequest_builder) *pb.TokenFlowCreateResponse {
	t.Helper()
	f, err := w.client.TokenFlowCreate(withoutToken(t), req.Build())
	require.NoError(t, err)
	return f
}

func (w *world) await(t *testing.T, f *pb.TokenFlowCreateResponse, seconds float32) (*pb.TokenFlowWaitResponse, error) {
	t.Helper()
	return w.client.TokenFlowWait(withoutToken(t), pb.TokenFlowWaitRequest_builder{
		TokenFlowId: f.GetTokenFlowId(), WaitSecret: f.GetWaitSecret(), Timeout: seconds,
	}.Build())
}

func (w *world) approve(t *testing.T, f *pb.TokenFlowCreateResponse, m *modaltest.Member) modaltest.Token {
	t.Helper()
	token, err := w.server.ApproveFlow(f.GetTokenFlowId(), m)
	require.NoError(t, err)
	return token
}

func requireToken(t *testing.T, want modaltest.Token, resp *pb.TokenFlowWaitResponse, err error) {
	t.Helper()
	require.NoError(t, err)
	require.False(t, resp.GetTimeout())
	require.Equal(t, want.ID, resp.GetTokenId())
	require.True(t, want.Secret == resp.GetTokenSecret(), "the token's secret") //nolint:testifylint // shows no secret
}

func TestTokenFlow_ReturnsTheApprovingMembersToken(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	bob := w.server.AddWorkspace("globex").AddMember("bob")
	f := w.beginFlow(t, pb.TokenFlowCreateRequest_builder{ExpiresInSeconds: 3600, LocalhostPort: 8000, NextUrl: "https://vault.example"})
	require.Regexp(t, `^tf-[A-Za-z0-9]{22}$`, f.GetTokenFlowId())
	require.NotEmpty(t, f.GetCode())
	require.Equal(t, w.server.URL()+"/token-flow/"+f.GetTokenFlowId(), f.GetWebUrl())
	info := modaltest.FlowInfo{
		ID: f.GetTokenFlowId(), URL: f.GetWebUrl(), Code: f.GetCode(), State: modaltest.FlowWaiting,
		Created: c.Now(), Lapses: c.Now().Add(time.Hour), TokenLife: time.Hour, LocalhostPort: 8000, NextURL: "https://vault.example",
	}
	require.Equal(t, []modaltest.FlowInfo{info}, w.server.Flows())

	early, err := w.await(t, f, 0)
	require.NoError(t, err)
	require.True(t, early.GetTimeout())
	require.Empty(t, early.GetTokenId())

	c.Advance(time.Minute)
	token := w.approve(t, f, bob)
	info.State, info.TokenID = modaltest.FlowApproved, token.ID
	require.Equal(t, []modaltest.FlowInfo{info}, w.server.Flows())
	for range 2 {
		resp, waitErr := w.await(t, f, 60)
		requireToken(t, token, resp, waitErr)
		require.Equal(t, "globex", resp.GetWorkspaceUsername())
	}
	who, err := w.client.TokenInfoGet(withToken(t, token), &pb.TokenInfoGetRequest{})
	require.NoError(t, err)
	require.Equal(t, bob.ID(), who.GetUserIdentity().GetUserId())
	require.Equal(t, c.Now().Add(time.Hour).UTC(), who.GetExpiresAt().AsTime())
	require.Subset(t, w.server.Secrets(), []string{token.Secret, f.GetWaitSecret()})
}

func TestTokenFlow_TokenWithoutALifetimeNeverExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.approve(t, w.beginFlow(t, pb.TokenFlowCreateRequest_builder{}), w.owner)
	who, err := w.client.TokenInfoGet(withToken(t, token), &pb.TokenInfoGetRequest{})
	require.NoError(t, err)
	require.False(t, who.HasExpiresAt())
}

func TestTokenFlow_NeedsTheHeadersOfAClientAndNoToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.client.TokenFlowCreate(t.Context(), &pb.TokenFlowCreateRequest{})
	requireCode(t, codes.FailedPrecondition, err)
	_, err = w.client.TokenFlowWait(t.Context(), &pb.TokenFlowWaitRequest{})
	requireCode(t, codes.FailedPrecondition, err)
	require.Error(t, whoAmI(withoutToken(t), w.client), "every other RPC needs a token")
	_, err = w.client.TokenFlowCreate(withToken(t, modaltest.Token{ID: "ak-none", Secret: "as-none"}), &pb.TokenFlowCreateRequest{})
	require.NoError(t, err, "the server ignores a token here")
}

func TestTokenFlow_NeedsItsWaitSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f, other := w.beginFlow(t, pb.TokenFlowCreateRequest_builder{}), w.beginFlow(t, pb.TokenFlowCreateRequest_builder{})
	w.approve(t, f, w.owner)
	for name, req := range map[string]pb.TokenFlowWaitRequest_builder{
		"other's secret": {TokenFlowId: f.GetTokenFlowId(), WaitSecret: other.GetWaitSecret()},
		"no secret":      {TokenFlowId: f.GetTokenFlowId()},
		"unknown flow":   {TokenFlowId: "tf-none", WaitSecret: f.GetWaitSecret()},
		"nothing":        {},
	} {
		_, err := w.client.TokenFlowWait(withoutToken(t), req.Build())
		require.Equal(t, codes.NotFound, status.Code(err), name)
	}
}

func TestDenyFlow_EndsTheWait(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.beginFlow(t, pb.TokenFlowCreateRequest_builder{})
	require.NoError(t, w.server.DenyFlow(f.GetTokenFlowId()))
	_, err := w.await(t, f, 60)
	requireCode(t, codes.PermissionDenied, err)
	require.Equal(t, modaltest.FlowDenied, w.server.Flows()[0].State)
	_, err = w.server.ApproveFlow(f.GetTokenFlowId(), w.owner)
	require.ErrorContains(t, err, "decided before")
	require.ErrorContains(t, w.server.DenyFlow("tf-none"), "no such flow")
	require.Len(t, w.server.Tokens(), 1)
}

func TestWithFlowLifetime_FlowLapsesForPersonAndClient(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now), modaltest.WithFlowLifetime(time.Minute))
	waiting, approved := w.beginFlow(t, pb.TokenFlowCreateRequest_builder{}), w.beginFlow(t, pb.TokenFlowCreateRequest_builder{})
	token := w.approve(t, approved, w.owner)
	c.Advance(time.Minute)
	for _, f := range []*pb.TokenFlowCreateResponse{waiting, approved} {
		_, err := w.await(t, f, 60)
		requireCode(t, codes.NotFound, err)
	}
	_, err := w.server.ApproveFlow(waiting.GetTokenFlowId(), w.owner)
	require.ErrorContains(t, err, "lapsed")
	require.Equal(t, modaltest.FlowLapsed, w.server.Flows()[0].State)
	require.Equal(t, modaltest.FlowApproved, w.server.Flows()[1].State)
	require.NoError(t, whoAmI(withToken(t, token), w.client), "the token does not lapse with its flow")
}

func TestWithFlowPage_ChangesTheApprovalURL(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modaltest.WithFlowPage("http://127.0.0.1:9901"))
	f := w.beginFlow(t, pb.TokenFlowCreateRequest_builder{})
	require.Equal(t, "http://127.0.0.1:9901/token-flow/"+f.GetTokenFlowId(), f.GetWebUrl())
}

// waiters is large enough to provoke races between the waiting clients.
const waiters = 20

// awaitTogether lets many clients wait for one flow while meanwhile runs. It returns the IDs of the tokens
// they got and the number of rejected clients.
func (w *world) awaitTogether(t *testing.T, f *pb.TokenFlowCreateResponse, meanwhile func()) (tokens []string, rejected int) {
	t.Helper()
	var wg sync.WaitGroup
	ids := make(chan string, waiters)
	for range waiters {
		wg.Go(func() {
			resp, err := w.await(t, f, 60)
			if err == nil {
				ids <- resp.GetTokenId()
			}
		})
	}
	meanwhile()
	wg.Wait()
	close(ids)
	for id := range ids {
		tokens = append(tokens, id)
	}
	return tokens, waiters - len(tokens)
}

func TestTokenFlow_AllWaitingClientsGetTheSameToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	f := w.beginFlow(t, pb.TokenFlowCreateRequest_builder{})
	var token modaltest.Token
	got, rejected := w.awaitTogether(t, f, func() {
		approved := make(chan modaltest.Token, waiters)
		var wg sync.WaitGroup
		for range waiters {
			wg.Go(func() {
				if other, err := w.server.ApproveFlow(f.GetTokenFlowId(), w.owner); err == nil {
					approved <- other
				}
			})
		}
		wg.Wait()
		require.Len(t, approved, 1, "one person decides")
		token = <-approved
	})
	require.Zero(t, rejected)
	for _, id := range got {
		require.Equal(t, token.ID, id)
	}
	require.Len(t, w.server.Tokens(), 2)
}

func TestWithFlowAnswersOnce_OnlyOneWaitingClientGetsTheToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modaltest.WithFlowAnswersOnce())
	f := w.beginFlow(t, pb.TokenFlowCreateRequest_builder{})
	got, rejected := w.awaitTogether(t, f, func() { w.approve(t, f, w.owner) })
	require.Len(t, got, 1)
	require.Equal(t, waiters-1, rejected)
	_, err := w.await(t, f, 0)
	requireCode(t, codes.NotFound, err)
}

func TestWithFlowAnswersOnce_AnswerCanBeLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modaltest.WithFlowAnswersOnce())
	f := w.beginFlow(t, pb.TokenFlowCreateRequest_builder{})
	token := w.approve(t, f, w.owner)
	w.server.Inject("TokenFlowWait", modaltest.Fault{Code: codes.Unavailable})
	_, err := w.await(t, f, 0)
	requireCode(t, codes.Unavailable, err)
	w.server.Inject("TokenFlowWait", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true})
	_, err = w.await(t, f, 0)
	requireCode(t, codes.Unavailable, err)
	_, err = w.await(t, f, 0)
	requireCode(t, codes.NotFound, err)
	require.True(t, w.server.Accepts(token.ID, token.Secret), "the token was never returned and is still valid")
}

func TestTokenFlowWait_EndsWhenTheClientGoesAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, modaltest.WithFlowAnswersOnce())
	f := w.beginFlow(t, pb.TokenFlowCreateRequest_builder{})
	ctx, leave := context.WithCancel(withoutToken(t))
	w.server.OnCall(func(string) { leave() })
	_, err := w.client.TokenFlowWait(ctx, pb.TokenFlowWaitRequest_builder{
		TokenFlowId: f.GetTokenFlowId(), WaitSecret: f.GetWaitSecret(), Timeout: 3600,
	}.Build())
	requireCode(t, codes.Canceled, err)
	w.server.OnCall(nil)
	require.Eventually(t, func() bool {
		return w.server.Calls("TokenFlowWait")[0].Code == codes.Canceled
	}, time.Minute, time.Millisecond, "the server's wait ends too")
	token := w.approve(t, f, w.owner)
	resp, err := w.await(t, f, 0)
	requireToken(t, token, resp, err)
}
