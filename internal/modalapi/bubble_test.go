// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"math/rand/v2"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/test/bufconn"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

// bubble is an emulator in virtual time, with a member's token and a client.
type bubble struct {
	t      *testing.T
	server *modaltest.Server
	token  modalapi.Token
	client *modalapi.Client
}

// inBubble runs a test in virtual time, with a client that has the given options.
func inBubble(t *testing.T, o modalapi.Options, test func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		wire := bufconn.Listen(64 << 10)
		server := modaltest.New()
		served := make(chan error, 1)
		go func() { served <- server.Serve(modaltest.At(wire, "127.0.0.1:9900")) }()
		token := server.AddWorkspace("acme").AddMember("ada").NewToken()
		o.ServerURL = "http://127.0.0.1:9900"
		o.Dial = func(ctx context.Context, _ string) (net.Conn, error) { return wire.DialContext(ctx) }
		client, err := modalapi.New(o)
		require.NoError(t, err)
		defer func() { // also if the test fails, because a bubble waits for all its goroutines
			_ = client.Close()
			server.Close()
			require.NoError(t, <-served)
		}()

		test(&bubble{t: t, server: server, token: modalapi.Token{ID: token.ID, Secret: token.Secret}, client: client})
	})
}

// waitsOf returns how long a call with three retries takes in virtual time, with jitter from the given seed.
func waitsOf(t *testing.T, seed uint64) (took time.Duration) {
	t.Helper()
	jitter := rand.New(rand.NewPCG(seed, seed)).Float64
	inBubble(t, modalapi.Options{Jitter: jitter}, func(b *bubble) {
		b.server.Inject(rpc, modaltest.Fault{Code: codes.Unavailable, Times: 3})
		begun := time.Now()
		_, err := b.client.WhoAmI(b.t.Context(), b.token)
		require.NoError(b.t, err)
		took = time.Since(begun)
	})
	return took
}

func TestJitter_SameSeedGivesTheSameWaits(t *testing.T) {
	t.Parallel()
	first := waitsOf(t, 1)

	require.Equal(t, first, waitsOf(t, 1))
	require.NotEqual(t, first, waitsOf(t, 2))
	for _, took := range []time.Duration{first, waitsOf(t, 2)} {
		require.GreaterOrEqual(t, took, 350*time.Millisecond)
		require.Less(t, took, 1050*time.Millisecond)
	}
}
