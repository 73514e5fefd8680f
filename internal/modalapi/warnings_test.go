// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func TestWarnings_AreForwardedOnceDecodedAndRedacted(t *testing.T) {
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

func TestWarnings_OfAFailedCallAreForwarded(t *testing.T) {
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

func TestWarnings_RememberedTextsAreBounded(t *testing.T) {
	t.Parallel()
	var texts []string
	call := 0
	serverURL := serve(t, func(ctx context.Context) (*pb.TokenInfoGetResponse, error) {
		trailer := metadata.MD{}
		trailer.Append("x-modal-warning", "warning "+strconv.Itoa(call%257))
		call++
		return goodAnswer().Build(), grpc.SetTrailer(ctx, trailer)
	})
	client := newClient(t, modalapi.Options{ServerURL: serverURL, Warn: func(text string) { texts = append(texts, text) }})

	for range 2 * 257 {
		_, err := client.WhoAmI(t.Context(), someToken)
		require.NoError(t, err)
	}

	// The 257th warning cleared the set, so the earlier warnings are forwarded again.
	require.Greater(t, len(texts), 257)
}

func TestWarnings_OfOneAnswerAreLimitedAndTheRestCounted(t *testing.T) {
	t.Parallel()
	var texts []string
	serverURL := serve(t, func(ctx context.Context) (*pb.TokenInfoGetResponse, error) {
		trailer := metadata.MD{}
		for i := range 3000 {
			trailer.Append("x-modal-warning", "warning "+strconv.Itoa(i)+strings.Repeat("%41", 200))
		}
		return goodAnswer().Build(), grpc.SetTrailer(ctx, trailer)
	})

	_, err := newClient(t, modalapi.Options{ServerURL: serverURL, Timeout: 2 * time.Minute, Warn: func(text string) { texts = append(texts, text) }}).WhoAmI(t.Context(), someToken)

	require.NoError(t, err)
	require.Len(t, texts, 6)
	for _, text := range texts {
		require.LessOrEqual(t, len(text), 300)
	}
	require.Equal(t, "Modal attached 2995 more warnings to the same answer; they are not shown", texts[5])
}

// The new secret is in the answer only, so it must be collected from the answer.
func TestWarnings_DoNotRepeatTheSecretOfTheAnswer(t *testing.T) {
	t.Parallel()
	const minted = "as-0f1e2d3c4b5a6978QWERTY"
	var texts []string
	serverURL := serve(t, func(ctx context.Context) (*pb.ServiceUserCreateResponse, error) {
		return pb.ServiceUserCreateResponse_builder{ServiceUserId: "sv-1", TokenId: someID, TokenSecret: minted}.Build(),
			grpc.SetTrailer(ctx, metadata.Pairs("x-modal-warning", "keep "+strings.ToUpper(minted[3:])+" safe, not "+someSecret[3:]))
	})

	made, err := newClient(t, modalapi.Options{ServerURL: serverURL, Warn: func(text string) { texts = append(texts, text) }}).
		CreateServiceUser(t.Context(), someToken, ci)

	require.NoError(t, err)
	require.Empty(t, made.Flaw())
	require.Equal(t, []string{"keep [redacted] safe, not [redacted]"}, texts)
}
