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

// waitsOf returns how long a call with three retries takes in virtual time, with jitter from the given seed.
func waitsOf(t *testing.T, seed uint64) (took time.Duration) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		wire := bufconn.Listen(64 << 10)
		server := modaltest.New()
		served := make(chan error, 1)
		go func() { served <- server.Serve(modaltest.At(wire, "127.0.0.1:9900")) }()
		token := server.AddWorkspace("acme").AddMember("ada").NewToken()
		server.Inject(rpc, modaltest.Fault{Code: codes.Unavailable, Times: 3})
		client, err := modalapi.New(modalapi.Options{
			ServerURL: "http://127.0.0.1:9900",
			Dial:      func(ctx context.Context, _ string) (net.Conn, error) { return wire.DialContext(ctx) },
			Jitter:    rand.New(rand.NewPCG(seed, seed)).Float64,
		})
		require.NoError(t, err)
		begun := time.Now()

		_, err = client.WhoAmI(t.Context(), modalapi.Token{ID: token.ID, Secret: token.Secret})

		require.NoError(t, err)
		took = time.Since(begun)
		require.NoError(t, client.Close())
		server.Close()
		require.NoError(t, <-served)
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
