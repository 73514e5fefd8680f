// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"context"
	"strings"
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-modal/e2e/lab"
)

// modal returns the generated client of Modal's API on one connection to the emulator.
func (w *world) modal(t *testing.T) pb.ModalClientClient {
	t.Helper()
	conn, err := grpc.NewClient(strings.TrimPrefix(w.emulator.URL, "http://"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() }) // the test is over
	return pb.NewModalClientClient(conn)
}

// use makes a call with a token.
func use(ctx context.Context, client pb.ModalClientClient, token lab.Token) error {
	_, err := client.TokenInfoGet(metadata.AppendToOutgoingContext(ctx,
		"x-modal-client-type", "9", "x-modal-client-version", "1.0.0",
		"x-modal-token-id", token.ID, "x-modal-token-secret", token.Secret), pb.TokenInfoGetRequest_builder{}.Build())
	return err
}

func (w *world) requireAccepted(t *testing.T, token lab.Token) {
	t.Helper()
	require.NoError(t, use(w.ctx, w.modal(t), token), "%s", token)
}

func (w *world) requireRejected(t *testing.T, token lab.Token) {
	t.Helper()
	require.Equal(t, codes.Unauthenticated, status.Code(use(w.ctx, w.modal(t), token)), "%s", token)
}
