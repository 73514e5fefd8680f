// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestWhoAmI_ReportsAMemberTokensWorkspaceAndOwner(t *testing.T) {
	t.Parallel()
	created := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	server := modaltest.Start(t, modaltest.WithClock(func() time.Time { return created }))
	workspace := server.AddWorkspace("acme")
	token := workspace.AddMember("ada").NewToken(modaltest.Named("laptop"))

	who, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).WhoAmI(t.Context(), modalapi.Token{ID: token.ID, Secret: token.Secret})

	require.NoError(t, err)
	require.Contains(t, who.ID, "us-")
	require.Equal(t, modalapi.Identity{
		TokenID: token.ID, TokenName: "laptop",
		WorkspaceID: workspace.ID(), WorkspaceName: "acme",
		Kind: modalapi.IdentityUser, ID: who.ID, Name: "ada",
		CreatedAt: created,
	}, who)
}

func TestWhoAmI_ReportsAServiceUserTokensExpiry(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	server := modaltest.Start(t, modaltest.WithClock(func() time.Time { return now }))
	workspace := server.AddWorkspace("acme")
	workspace.AddMember("ada")
	token := workspace.AddServiceUser("ci", modaltest.ExpiresAt(now.Add(time.Hour)))

	who, err := newClient(t, modalapi.Options{ServerURL: server.URL()}).WhoAmI(t.Context(), modalapi.Token{ID: token.ID, Secret: token.Secret})

	require.NoError(t, err)
	require.Equal(t, modalapi.IdentityServiceUser, who.Kind)
	require.Contains(t, who.ID, "sv-")
	require.Equal(t, "ci", who.Name)
	require.Equal(t, now.Add(time.Hour), who.ExpiresAt)
}

func TestWhoAmI_EpochMeansNoExpiry(t *testing.T) {
	t.Parallel()
	client := answering(t, func(context.Context) (*pb.TokenInfoGetResponse, error) {
		answer := goodAnswer()
		answer.ExpiresAt = &timestamppb.Timestamp{}
		return answer.Build(), nil
	})

	who, err := client.WhoAmI(t.Context(), someToken)

	require.NoError(t, err)
	require.True(t, who.ExpiresAt.IsZero())
}

func TestWhoAmI_UntrustedAnswerIsAnError(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*pb.TokenInfoGetResponse_builder){
		"it describes another token": func(b *pb.TokenInfoGetResponse_builder) { b.TokenId = "ak-somebodyElses0000000000" },
		"it names no workspace":      func(b *pb.TokenInfoGetResponse_builder) { b.WorkspaceId = "" },
		"it names no owner":          func(b *pb.TokenInfoGetResponse_builder) { b.UserIdentity = nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := answering(t, func(context.Context) (*pb.TokenInfoGetResponse, error) {
				answer := goodAnswer()
				spoil(&answer)
				return answer.Build(), nil
			})

			who, err := client.WhoAmI(t.Context(), someToken)

			require.Zero(t, who)
			require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
			require.ErrorContains(t, err, name)
		})
	}
}

func TestWhoAmI_IncompleteTokenIsNeverSent(t *testing.T) {
	t.Parallel()
	server, token := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})

	for _, incomplete := range []modalapi.Token{{}, {ID: token.ID}, {Secret: token.Secret}, {ID: token.Secret, Secret: token.ID}} {
		_, err := client.WhoAmI(t.Context(), incomplete)
		require.Error(t, err)
		require.Equal(t, modalapi.KindNone, modalapi.KindOf(err))
		require.NotContains(t, err.Error(), token.Secret)
	}
	require.Empty(t, server.Calls(""))
}

func goodAnswer() pb.TokenInfoGetResponse_builder {
	return pb.TokenInfoGetResponse_builder{
		TokenId: someID, WorkspaceId: "ac-1", WorkspaceName: "acme",
		UserIdentity: pb.UserIdentity_builder{UserId: "us-1", Username: "ada"}.Build(),
	}
}
