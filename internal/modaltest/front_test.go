// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"strconv"
	"strings"
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// frontClient returns Modal's generated client, connected to the front.
func frontClient(t *testing.T, front *modaltest.Front) pb.ModalClientClient {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(front.URL(), "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return pb.NewModalClientClient(conn)
}

func TestFront_ForwardsCallsWithTheirErrors(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	front := modaltest.StartFront(t, w.server)
	client := frontClient(t, front)

	require.NoError(t, whoAmI(withToken(t, w.token), client))
	requireRejected(t, whoAmI(withToken(t, modaltest.Token{ID: w.token.ID, Secret: "as-0123456789abcdefghijKL"}), client), "Token secret is invalid")
	w.server.Inject("TokenInfoGet", modaltest.Fault{NoContentType: true})
	err := whoAmI(withToken(t, w.token), client)
	requireCode(t, codes.Unknown, err)
	require.Equal(t, "unexpected HTTP status code received from server: 200 (OK); malformed header: missing HTTP content-type", status.Convert(err).Message())
	require.Zero(t, front.Answered())
}

func TestFront_AnswersByItselfUntilPassOn(t *testing.T) {
	t.Parallel()
	for _, httpStatus := range []int{401, 403, 404, 502, 520} {
		for _, bare := range []bool{true, false} {
			w := newWorld(t)
			front := modaltest.StartFront(t, w.server)
			client := frontClient(t, front)
			require.NoError(t, whoAmI(withToken(t, w.token), client))
			front.Answer(modaltest.BareAnswer{Status: httpStatus, NoContentType: bare})

			message := status.Convert(whoAmI(withToken(t, w.token), client)).Message()

			require.Contains(t, message, "unexpected HTTP status code received from server: "+strconv.Itoa(httpStatus)+" (")
			require.Equal(t, bare, strings.HasSuffix(message, "; malformed header: missing HTTP content-type"), message)
			require.Equal(t, !bare, strings.Contains(message, "This page is the proxy's."), message)
			require.Equal(t, 1, front.Answered())
			require.Len(t, w.server.Calls("TokenInfoGet"), 1, "the server saw no other call")

			front.PassOn()
			require.NoError(t, whoAmI(withToken(t, w.token), client))
		}
	}
}

func TestFront_AnswersAnRPCAfterTheServerDidTheWork(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	front := modaltest.StartFront(t, w.server)
	client := frontClient(t, front)
	front.Answer(modaltest.BareAnswer{Status: 520, NoContentType: true, AfterWork: true, Methods: []string{"ServiceUserCreate"}})

	_, err := client.ServiceUserCreate(withToken(t, w.token), pb.ServiceUserCreateRequest_builder{Name: "ci"}.Build())

	requireCode(t, codes.Unknown, err)
	require.Len(t, w.server.ServiceUsers(), 1)
	require.NoError(t, whoAmI(withToken(t, w.token), client), "other RPCs pass")
}

func TestFront_RefusesAnswersThatTestNothing(t *testing.T) {
	t.Parallel()
	front := modaltest.StartFront(t, modaltest.Start(t))
	require.Panics(t, func() { front.Answer(modaltest.BareAnswer{}) })
	require.Panics(t, func() { front.Answer(modaltest.BareAnswer{Status: 401, Methods: []string{"ServiceUserMake"}}) })
	require.Panics(t, func() { modaltest.StartFront(t, modaltest.Start(t, modaltest.WithTLS())) })
}
