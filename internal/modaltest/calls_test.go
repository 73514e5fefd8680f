// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"fmt"
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestCalls_RecordsOrderCallerAndAnswer(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	ctx := metadata.AppendToOutgoingContext(withToken(t, w.token), "x-idempotency-key", "once")
	_, err := w.client.WorkspaceNameLookup(ctx, &emptypb.Empty{})
	require.NoError(t, err)
	require.Error(t, whoAmI(withToken(t, modaltest.Token{}), w.client))
	requireCode(t, codes.NotFound, ensureEnvironment(ctx, w.client, lookUp))
	w.server.SetOutage(true)
	require.Error(t, whoAmI(ctx, w.client))

	var got []string
	for _, call := range w.server.Calls("") {
		got = append(got, fmt.Sprintf("%s %s %s", call.Method, call.TokenID, call.Code))
		require.Equal(t, c.Now(), call.At)
	}
	require.Equal(t, []string{
		"WorkspaceNameLookup " + w.token.ID + " OK",
		"TokenInfoGet  Unauthenticated",
		"EnvironmentGetOrCreate " + w.token.ID + " NotFound",
		"TokenInfoGet " + w.token.ID + " Unavailable",
	}, got)
	require.Len(t, w.server.Calls("TokenInfoGet"), 2)
	require.Equal(t, w.server.Calls("")[3:], w.server.CallsFrom(3))
	require.Empty(t, w.server.CallsFrom(5))
	require.Equal(t, []string{"once"}, w.server.Calls("WorkspaceNameLookup")[0].Header.Get("x-idempotency-key"))
}

func TestCalls_NeverContainASecretEvenWithSwappedFields(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	require.NoError(t, whoAmI(withToken(t, w.token), w.client))
	swapped := modaltest.Token{ID: w.token.Secret, Secret: w.token.ID}
	require.Error(t, whoAmI(withToken(t, swapped), w.client))
	for _, call := range w.server.Calls("") {
		require.NotContains(t, fmt.Sprintf("%+v", call), w.token.Secret)
		require.Empty(t, call.Header.Get("x-modal-token-secret"))
	}
}

func TestOnAnswer_GetsEachCallWithItsCode(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var got []string
	w.server.OnAnswer(func(c modaltest.Call) { got = append(got, fmt.Sprintf("%s %s", c.Method, c.Code)) })
	require.NoError(t, whoAmI(withToken(t, w.token), w.client))
	w.server.SetOutage(true)
	require.Error(t, whoAmI(withToken(t, w.token), w.client))
	w.server.OnAnswer(nil)
	require.Error(t, whoAmI(withToken(t, w.token), w.client))
	require.Equal(t, []string{"TokenInfoGet OK", "TokenInfoGet Unavailable"}, got)
}

func TestOnCall_RunsBeforeEachCallIsHandled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	heard := make(chan string, 10)
	w.server.OnCall(func(method string) {
		last := w.server.Calls(method)[0]
		heard <- fmt.Sprintf("%s %s %d", last.Method, last.Code, len(w.server.ServiceUsers()))
	})
	w.server.Inject("WorkspaceNameLookup", modaltest.Fault{Code: codes.Internal})
	_, err := w.client.WorkspaceNameLookup(withToken(t, w.token), &emptypb.Empty{})
	requireCode(t, codes.Internal, err)
	require.Error(t, whoAmI(withToken(t, modaltest.Token{}), w.client))
	w.mint(t, "ci")
	w.server.OnCall(nil)
	require.NoError(t, whoAmI(withToken(t, w.token), w.client))
	close(heard)
	var got []string
	for line := range heard {
		got = append(got, line)
	}
	require.Equal(t, []string{"WorkspaceNameLookup Unknown 0", "TokenInfoGet Unknown 0", "ServiceUserCreate Unknown 0"}, got)
}

func TestCalls_NameTheTargetOfACall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, user := w.mint(t, "ci")
	_, err := w.client.ServiceUserDelete(withToken(t, w.token), pb.ServiceUserDeleteRequest_builder{ServiceUserId: user}.Build())
	require.NoError(t, err)
	f := w.beginFlow(t, pb.TokenFlowCreateRequest_builder{})
	_, err = w.await(t, f, 0)
	require.NoError(t, err)
	require.Equal(t, user, w.server.Calls("ServiceUserDelete")[0].Target)
	require.Equal(t, f.GetTokenFlowId(), w.server.Calls("TokenFlowWait")[0].Target)
	require.Empty(t, w.server.Calls("TokenFlowCreate")[0].Target)
}

func TestCalls_NeverContainANewSecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, _ := w.mint(t, "ci")
	require.NoError(t, whoAmI(withToken(t, token), w.client))
	require.NotContains(t, fmt.Sprintf("%+v", w.server.Calls("")), token.Secret)
	require.NotContains(t, fmt.Sprintf("%+v", w.server.ServiceUsers()), token.Secret)
}
