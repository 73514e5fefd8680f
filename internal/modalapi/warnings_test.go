// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"net/url"
	"strconv"
	"sync"
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func TestWarnings_ArePassedOnOnceDecodedAndRedacted(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	var warnings []string
	warn := func(text string) {
		mu.Lock()
		defer mu.Unlock()
		warnings = append(warnings, text)
	}
	serverURL := serve(t, func(ctx context.Context) (*pb.TokenInfoGetResponse, error) {
		err := grpc.SetTrailer(ctx, metadata.Pairs(
			"x-modal-warning", "client%20is%20old%0Aupdate%20it",
			"x-modal-warning", "broken %zz",
			"x-modal-warning", url.PathEscape("saw "+someSecret)))
		return goodAnswer().Build(), err
	})
	client := newClient(t, modalapi.Options{ServerURL: serverURL, Warn: warn})

	for range 2 {
		_, err := client.WhoAmI(t.Context(), someToken)
		require.NoError(t, err)
	}

	require.Equal(t, []string{"client is old update it", "broken %zz", "saw [redacted]"}, warnings)
}

func TestWarnings_OfAFailedCallArePassedOnToo(t *testing.T) {
	t.Parallel()
	got := make(chan string, 1)
	serverURL := serve(t, func(ctx context.Context) (*pb.TokenInfoGetResponse, error) {
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x-modal-warning", "goodbye"))
		return nil, status.Error(codes.NotFound, "gone")
	})

	_, err := newClient(t, modalapi.Options{ServerURL: serverURL, Warn: func(text string) { got <- text }}).WhoAmI(t.Context(), someToken)

	require.Equal(t, modalapi.KindNotFound, modalapi.KindOf(err))
	require.Len(t, got, 1)
	require.Equal(t, "goodbye", <-got)
}

func TestWarnings_OfManyKindsAreNotRememberedForEver(t *testing.T) {
	t.Parallel()
	var texts []string
	serverURL := serve(t, func(ctx context.Context) (*pb.TokenInfoGetResponse, error) {
		trailer := metadata.MD{}
		for i := range 257 {
			trailer.Append("x-modal-warning", "warning "+strconv.Itoa(i))
		}
		return goodAnswer().Build(), grpc.SetTrailer(ctx, trailer)
	})
	client := newClient(t, modalapi.Options{ServerURL: serverURL, Warn: func(text string) { texts = append(texts, text) }})

	for range 2 {
		_, err := client.WhoAmI(t.Context(), someToken)
		require.NoError(t, err)
	}

	// The 257th made it forget the others, which are then told again.
	require.Greater(t, len(texts), 257)
}
