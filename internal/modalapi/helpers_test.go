// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"cmp"
	"context"
	"net"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

const (
	someID     = "ak-0123456789abcdefghijKL"
	someSecret = "as-ZYXWVUTSRQponmlkjihg98"
)

var someToken = modalapi.Token{ID: someID, Secret: someSecret}

// newClient returns a client that closes at the end of the test. By default a call may take two minutes, so that a busy
// machine does not end it.
func newClient(t *testing.T, o modalapi.Options) *modalapi.Client {
	t.Helper()
	o.Timeout = cmp.Or(o.Timeout, 2*time.Minute)
	client, err := modalapi.New(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = client.Close() })
	return client
}

// emulated starts an emulator with one member and returns the member's token.
func emulated(t *testing.T, opts ...modaltest.Option) (*modaltest.Server, modalapi.Token) {
	t.Helper()
	server := modaltest.Start(t, opts...)
	token := server.AddWorkspace("acme").AddMember("ada").NewToken()
	return server, modalapi.Token{ID: token.ID, Secret: token.Secret}
}

// answering starts a server that answers every RPC with answer. Tests use it for answers that the emulator
// never gives.
func answering[Answer proto.Message](t *testing.T, answer func(context.Context) (Answer, error)) *modalapi.Client {
	t.Helper()
	return newClient(t, modalapi.Options{ServerURL: serve(t, answer)})
}

func serve[Answer proto.Message](t *testing.T, answer func(context.Context) (Answer, error)) string {
	t.Helper()
	return serveAt(t, "127.0.0.1:0", answer)
}

func serveAt[Answer proto.Message](t *testing.T, address string, answer func(context.Context) (Answer, error)) string {
	t.Helper()
	return serveRequestsAt(t, address, func(ctx context.Context, _ any) (any, error) { return answer(ctx) })
}

func serveRequests(t *testing.T, answer func(ctx context.Context, req any) (any, error)) string {
	t.Helper()
	return serveRequestsAt(t, "127.0.0.1:0", answer)
}

func serveRequestsAt(t *testing.T, address string, answer func(ctx context.Context, req any) (any, error)) string {
	t.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(t.Context(), "tcp", address)
	require.NoError(t, err)
	server := grpc.NewServer(grpc.UnaryInterceptor(
		func(ctx context.Context, req any, _ *grpc.UnaryServerInfo, _ grpc.UnaryHandler) (any, error) {
			return answer(ctx, req)
		}))
	pb.RegisterModalClientServer(server, pb.UnimplementedModalClientServer{})
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return "http://" + listener.Addr().String()
}

// rawCodec sends and receives bytes unchanged.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(message any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(*message.(*[]byte))}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, message any) error {
	*message.(*[]byte) = data.Materialize()
	return nil
}

// serveBytes starts a server that answers every RPC with body, which need not be a valid message.
func serveBytes(tb testing.TB, body []byte) (serverURL string) {
	tb.Helper()
	return serveBytesOf(tb, func() []byte { return body })
}

func serveBytesOf(tb testing.TB, body func() []byte) (serverURL string) {
	tb.Helper()
	var lc net.ListenConfig
	listener, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	require.NoError(tb, err)
	server := grpc.NewServer(grpc.ForceServerCodecV2(rawCodec{}), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		var request []byte
		if err := stream.RecvMsg(&request); err != nil {
			return err
		}
		answer := body()
		return stream.SendMsg(&answer)
	}))
	go func() { _ = server.Serve(listener) }()
	tb.Cleanup(server.Stop)
	return "http://" + listener.Addr().String()
}
