// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"strconv"
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestNoContentType_LooksLikeAnUnknownMethodOfGrpclib(t *testing.T) {
	t.Parallel()
	for name, opts := range map[string][]modaltest.Option{"plain text": nil, "TLS": {modaltest.WithTLS()}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, opts...)
			w.server.Inject("ServiceUserInfo", modaltest.Fault{NoContentType: true, Times: -1})

			for range 2 {
				// The server rejects an unknown method before it checks the token.
				_, err := w.client.ServiceUserInfo(withToken(t, modaltest.Token{}), &pb.ServiceUserInfoRequest{})

				requireCode(t, codes.Unknown, err)
				require.Contains(t, status.Convert(err).Message(), "malformed header: missing HTTP content-type")
				require.NoError(t, whoAmI(withToken(t, w.token), w.client), "other answers on the same connection keep their content type")
			}
			require.Equal(t, codes.Unknown, w.server.Calls("ServiceUserInfo")[0].Code)
		})
	}
}

func TestHTTPStatus_LooksLikeAProxysOwnAnswer(t *testing.T) {
	t.Parallel()
	for _, httpStatus := range []int{401, 403, 404, 502, 520} {
		for _, bare := range []bool{true, false} {
			w := newWorld(t)
			w.server.Inject("TokenInfoGet", modaltest.Fault{HTTPStatus: httpStatus, NoContentType: bare})

			message := status.Convert(whoAmI(withToken(t, w.token), w.client)).Message()

			require.Contains(t, message, "unexpected HTTP status code received from server: "+strconv.Itoa(httpStatus)+" (")
			require.Equal(t, bare, strings.HasSuffix(message, "; malformed header: missing HTTP content-type"), message)
			require.Equal(t, !bare, strings.Contains(message, "This page is the proxy's."), message)
			require.NoError(t, whoAmI(withToken(t, w.token), w.client), "the next answer is gRPC again")
		}
	}
}

func TestAnswerWithoutGRPC_CanHideDoneWork(t *testing.T) {
	t.Parallel()
	for _, fault := range []modaltest.Fault{{NoContentType: true}, {HTTPStatus: 520}} {
		w := newWorld(t)
		fault.AfterCommit = true
		w.server.Inject("ServiceUserCreate", fault)

		_, err := w.client.ServiceUserCreate(withToken(t, w.token), pb.ServiceUserCreateRequest_builder{Name: "ci"}.Build())

		requireCode(t, codes.Unknown, err)
		require.Len(t, w.server.ServiceUsers(), 1)
	}
}

func TestAnswers_LongHeadersAndBodiesArriveComplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	long := strings.Repeat("é", 30_000)
	w.server.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Internal, Message: long})
	for range 2000 {
		w.workspace.AddEnvironment("e-" + strings.ToLower(strings.TrimPrefix(w.owner.NewToken().ID, "ak-")))
	}

	require.Equal(t, long, status.Convert(whoAmI(withToken(t, w.token), w.client)).Message())
	var header metadata.MD
	listed, err := w.client.EnvironmentList(withToken(t, w.token), &emptypb.Empty{}, grpc.Header(&header))
	require.NoError(t, err)
	require.Len(t, listed.GetItems(), 2001)
	require.Equal(t, []string{"application/grpc"}, header.Get("content-type"))
}

func TestInject_RefusesAFaultWithTwoAnswersOrAnImpossibleOne(t *testing.T) {
	t.Parallel()
	server := modaltest.New()
	defer server.Close()
	for _, fault := range []modaltest.Fault{
		{NoContentType: true, Code: codes.Internal},
		{NoContentType: true, RetryAfter: time.Second},
		{HTTPStatus: 401, Code: codes.Internal},
		{HTTPStatus: 99},
	} {
		require.Panics(t, func() { server.Inject("*", fault) })
	}
}
