// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"math"
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func TestFlaw_NamesTheProblemOfAnUnusableAnswer(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for want, spoil := range map[string]func(*pb.ServiceUserCreateResponse_builder){
		"":                                     func(*pb.ServiceUserCreateResponse_builder) {},
		"it has no service user ID":            func(b *pb.ServiceUserCreateResponse_builder) { b.ServiceUserId = "" },
		"token_id is missing":                  func(b *pb.ServiceUserCreateResponse_builder) { b.TokenId = "" },
		"token_secret is missing":              func(b *pb.ServiceUserCreateResponse_builder) { b.TokenSecret = "" },
		"belongs to a proxy token":             func(b *pb.ServiceUserCreateResponse_builder) { b.TokenSecret = "ws-" + someSecret[3:] },
		"are swapped":                          func(b *pb.ServiceUserCreateResponse_builder) { b.TokenId, b.TokenSecret = b.TokenSecret, b.TokenId },
		"its token has white space":            func(b *pb.ServiceUserCreateResponse_builder) { b.TokenSecret += "\n" },
		"token_secret contains a control char": func(b *pb.ServiceUserCreateResponse_builder) { b.TokenSecret += "\x00" + someSecret },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			answer := pb.ServiceUserCreateResponse_builder{
				ServiceUserId: "sv-1", TokenId: someID, TokenSecret: someSecret, ExpiresAt: timestamppb.New(now.Add(time.Second)),
			}
			spoil(&answer)
			client := answering(t, func(context.Context) (*pb.ServiceUserCreateResponse, error) { return answer.Build(), nil })

			minted, err := client.CreateServiceUser(t.Context(), someToken, ci)

			require.NoError(t, err)
			require.Equal(t, answer.ServiceUserId, minted.ID)
			require.Equal(t, answer.TokenId, minted.Token.ID)
			require.True(t, answer.TokenSecret == minted.Token.Secret)
			require.True(t, answer.ExpiresAt.AsTime().Equal(minted.ExpiresAt))
			if want == "" {
				require.Empty(t, minted.Flaw())
				return
			}
			require.Contains(t, minted.Flaw(), want)
			require.NotContains(t, minted.Flaw(), someSecret[3:])
			require.NotContains(t, minted.Flaw(), "give both", "an answer of Modal is no mistake of the reader")
		})
	}
}

func TestFlaw_TokenWithoutAnExpiryNeverExpires(t *testing.T) {
	t.Parallel()
	for name, none := range map[string]*timestamppb.Timestamp{"unset": nil, "epoch": {}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := answering(t, func(context.Context) (*pb.ServiceUserCreateResponse, error) {
				return pb.ServiceUserCreateResponse_builder{
					ServiceUserId: "sv-1", TokenId: someID, TokenSecret: someSecret, ExpiresAt: none,
				}.Build(), nil
			})

			minted, err := client.CreateServiceUser(t.Context(), someToken, ci)

			require.NoError(t, err)
			require.True(t, minted.ExpiresAt.IsZero())
			require.Empty(t, minted.Flaw())
		})
	}
}

func TestFlaw_GiantIDsAndSecretsAreStillRefused(t *testing.T) {
	t.Parallel()
	giant := strings.Repeat("x", 1<<18)
	for want, spoil := range map[string]func(*pb.ServiceUserCreateResponse_builder){
		"it has no service user ID":      func(b *pb.ServiceUserCreateResponse_builder) { b.ServiceUserId = "sv-" + giant },
		"token_id is 257 bytes long":     func(b *pb.ServiceUserCreateResponse_builder) { b.TokenId = "ak-" + giant },
		"token_secret is 257 bytes long": func(b *pb.ServiceUserCreateResponse_builder) { b.TokenSecret = "as-" + giant },
		"its token ID cannot be shown":   func(b *pb.ServiceUserCreateResponse_builder) { b.TokenId = "ak-" + b.TokenSecret },
		"it has no service user ID (new secret)": func(b *pb.ServiceUserCreateResponse_builder) {
			b.ServiceUserId = "sv-" + strings.ToLower(b.TokenSecret[3:])
		},
		"it has no service user ID (admin token's secret)": func(b *pb.ServiceUserCreateResponse_builder) { b.ServiceUserId = "sv-" + someSecret[3:] },
		"it has no service user ID (two)":                  func(b *pb.ServiceUserCreateResponse_builder) { b.ServiceUserId = "sv-1\n" },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			answer := pb.ServiceUserCreateResponse_builder{ServiceUserId: "sv-1", TokenId: someID, TokenSecret: "as-0f1e2d3c4b5a6978QWERTY"}
			spoil(&answer)
			client := answering(t, func(context.Context) (*pb.ServiceUserCreateResponse, error) { return answer.Build(), nil })

			minted, err := client.CreateServiceUser(t.Context(), someToken, ci)

			require.NoError(t, err)
			flaw, _, _ := strings.Cut(want, " (")
			require.Contains(t, minted.Flaw(), flaw)
			require.LessOrEqual(t, len(minted.ID)+len(minted.Token.ID)+len(minted.Token.Secret), 1024)
		})
	}
}

// JSON cannot represent such a time, so storing it would fail.
func TestFlaw_ExpiryAfterTheYear9999MeansNever(t *testing.T) {
	t.Parallel()
	for _, at := range []*timestamppb.Timestamp{{Seconds: 9e11}, {Seconds: 253402300800}, {Seconds: 253402300799, Nanos: 2e9}, {Seconds: math.MaxInt64}} {
		client := answering(t, func(context.Context) (*pb.ServiceUserCreateResponse, error) {
			return pb.ServiceUserCreateResponse_builder{ServiceUserId: "sv-1", TokenId: someID, TokenSecret: someSecret, ExpiresAt: at}.Build(), nil
		})

		minted, err := client.CreateServiceUser(t.Context(), someToken, ci)

		require.NoError(t, err)
		require.Zero(t, minted.ExpiresAt)
		require.Empty(t, minted.Flaw())
	}
}

func TestMintedServiceUser_NeverShowsItsSecret(t *testing.T) {
	t.Parallel()
	requireHidden(t, modalapi.MintedServiceUser{ID: "sv-1", Token: someToken})
}
