// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// connect returns a gRPC connection without any code of the engine.
func connect(t *testing.T, s *modaltest.Server) *grpc.ClientConn {
	t.Helper()
	scheme, target, _ := strings.Cut(s.URL(), "://")
	transport := insecure.NewCredentials()
	if scheme == "https" {
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM([]byte(s.CACert())))
		transport = credentials.NewTLS(&tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12})
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(transport))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// withToken returns a context with the headers that every client of Modal sends.
func withToken(t *testing.T, token modaltest.Token) context.Context {
	t.Helper()
	return metadata.AppendToOutgoingContext(t.Context(),
		"x-modal-client-type", "9", "x-modal-client-version", "1.0.0",
		"x-modal-token-id", token.ID, "x-modal-token-secret", token.Secret)
}

// whoAmI makes a call for tests that need any call.
func whoAmI(ctx context.Context, client pb.ModalClientClient) error {
	_, err := client.TokenInfoGet(ctx, &pb.TokenInfoGetRequest{})
	return err
}

func requireRejected(t *testing.T, err error, message string) {
	t.Helper()
	requireCode(t, codes.Unauthenticated, err)
	require.Equal(t, message, status.Convert(err).Message())
}

func requireCode(t *testing.T, want codes.Code, err error) {
	t.Helper()
	require.Equal(t, want.String(), status.Code(err).String(), "%v", err)
}

// world is a server with one workspace, its owner, and a token of the owner.
type world struct {
	server    *modaltest.Server
	workspace *modaltest.Workspace
	owner     *modaltest.Member
	token     modaltest.Token
	conn      *grpc.ClientConn
	client    pb.ModalClientClient
}

func newWorld(t *testing.T, opts ...modaltest.Option) *world {
	t.Helper()
	w := &world{server: modaltest.Start(t, opts...)}
	w.workspace = w.server.AddWorkspace("acme")
	w.owner = w.workspace.AddMember("ada")
	w.token = w.owner.NewToken()
	w.conn = connect(t, w.server)
	w.client = pb.NewModalClientClient(w.conn)
	return w
}

// clock is a clock that the test sets.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock {
	return &clock{now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}
