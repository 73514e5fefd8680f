// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"context"
	"math"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// The test fails if its goroutines deadlock or if one of them still runs after Close.
func TestServe_WorksInABubbleWithVirtualTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		server, client, end := inBubble(t)
		token := server.AddWorkspace("acme").AddMember("ada").NewToken()
		server.Inject("TokenInfoGet", modaltest.Fault{Delay: 24 * time.Hour, Times: 3})
		server.Inject("ServiceUserList", modaltest.Fault{NoContentType: true})

		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _ = whoAmI(withToken(t, token), client) })
		}
		synctest.Wait()
		require.Len(t, server.Calls(""), 3, "a delayed call does not delay other calls")
		_, err := client.ServiceUserList(withToken(t, token), nil)
		requireCode(t, codes.Unknown, err)
		wg.Wait()

		require.Equal(t, 24*time.Hour, time.Since(begun))
		require.Equal(t, "http://127.0.0.1:9900", server.URL())
		end()
	})
}

func TestTokenFlowWait_EndsWithItsTimeoutOrThePersonsDecision(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		server, client, end := inBubble(t)
		ada := server.AddWorkspace("acme").AddMember("ada")
		f, err := client.TokenFlowCreate(withoutToken(t), &pb.TokenFlowCreateRequest{})
		require.NoError(t, err)
		wait := func(seconds float32) (*pb.TokenFlowWaitResponse, error) {
			return client.TokenFlowWait(withoutToken(t), pb.TokenFlowWaitRequest_builder{
				TokenFlowId: f.GetTokenFlowId(), WaitSecret: f.GetWaitSecret(), Timeout: seconds,
			}.Build())
		}
		for _, seconds := range []float32{40, 0, -1, float32(math.NaN()), 15} {
			resp, waitErr := wait(seconds)
			require.NoError(t, waitErr)
			require.True(t, resp.GetTimeout())
		}
		require.Equal(t, 55*time.Second, time.Since(begun))

		approved := make(chan modaltest.Token, 1)
		go func() {
			time.Sleep(time.Minute) //nolint:forbidigo // virtual: how long a person takes
			token, _ := server.ApproveFlow(f.GetTokenFlowId(), ada)
			approved <- token
		}()
		resp, err := wait(float32(math.Inf(1)))
		requireToken(t, <-approved, resp, err)
		require.Equal(t, 115*time.Second, time.Since(begun))
		end()
	})
}

// inBubble returns a server with an in-memory listener and a client of it. The function end closes both.
func inBubble(t *testing.T) (server *modaltest.Server, client pb.ModalClientClient, end func()) {
	t.Helper()
	wire := bufconn.Listen(64 << 10)
	server = modaltest.New()
	served := make(chan error, 1)
	go func() { served <- server.Serve(modaltest.At(wire, "127.0.0.1:9900")) }()
	conn, err := grpc.NewClient("dns:///127.0.0.1:9900",
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return wire.DialContext(ctx) }))
	require.NoError(t, err)
	return server, pb.NewModalClientClient(conn), func() {
		require.NoError(t, conn.Close())
		server.Close()
		require.NoError(t, <-served)
	}
}
