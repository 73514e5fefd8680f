// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"context"
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestAuth_InvalidTokensAreRejectedAsByModal(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.owner.NewToken()
	for name, test := range map[string]struct {
		token   modaltest.Token
		message string
	}{
		"no token":         {modaltest.Token{}, "Token missing"},
		"no secret":        {modaltest.Token{ID: w.token.ID}, "Token missing"},
		"no ID":            {modaltest.Token{Secret: w.token.Secret}, "Token missing"},
		"swapped":          {modaltest.Token{ID: w.token.Secret, Secret: w.token.ID}, "Token ID is malformed"},
		"short ID":         {modaltest.Token{ID: "ak-1", Secret: w.token.Secret}, "Token ID is malformed"},
		"proxy token":      {modaltest.Token{ID: "wk-" + w.token.ID[3:], Secret: w.token.Secret}, "Token ID is malformed"},
		"short secret":     {modaltest.Token{ID: w.token.ID, Secret: "as-1"}, "Token secret is malformed"},
		"unknown ID":       {modaltest.Token{ID: "ak-" + strings.Repeat("0", 22), Secret: w.token.Secret}, "Token not found"},
		"another's secret": {modaltest.Token{ID: w.token.ID, Secret: other.Secret}, "Token secret is invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireRejected(t, whoAmI(withToken(t, test.token), w.client), test.message)
		})
	}
}

func TestAuth_MissingClientHeadersFailBeforeTheTokenCheck(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, headers := range map[string][]string{
		"no version":       {"x-modal-client-type", "9"},
		"no type":          {"x-modal-client-version", "1.0.0"},
		"type unspecified": {"x-modal-client-version", "1.0.0", "x-modal-client-type", "0"},
		"type unknown":     {"x-modal-client-version", "1.0.0", "x-modal-client-type", "4"},
		"type no number":   {"x-modal-client-version", "1.0.0", "x-modal-client-type", "go"},
		"type too large":   {"x-modal-client-version", "1.0.0", "x-modal-client-type", "4294967305"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx := metadata.AppendToOutgoingContext(t.Context(), headers...)
			requireCode(t, codes.FailedPrecondition, whoAmI(ctx, w.client))
		})
	}
}

func TestAuth_FirstOfDoubledHeadersCounts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := metadata.AppendToOutgoingContext(withToken(t, w.token),
		"x-modal-client-type", "0", "x-modal-token-id", "ak-no", "x-modal-token-secret", "as-no")
	require.NoError(t, whoAmI(ctx, w.client))
}

func TestAuth_DeletedTokenIsRejectedOnTheNextCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.owner.NewToken()
	require.NoError(t, whoAmI(withToken(t, w.token), w.client))
	require.True(t, w.server.DeleteToken(w.token.ID))
	requireRejected(t, whoAmI(withToken(t, w.token), w.client), "Token not found")
	require.NoError(t, whoAmI(withToken(t, other), w.client), "only the one token is deleted")
	require.False(t, w.server.DeleteToken(w.token.ID), "deleted twice")
}

func TestAuth_TokenIsRejectedFromTheInstantItExpires(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	token := w.owner.NewToken(modaltest.ExpiresAt(c.Now().Add(time.Hour)))
	c.Advance(time.Hour - time.Nanosecond)
	require.NoError(t, whoAmI(withToken(t, token), w.client))
	c.Advance(time.Nanosecond)
	requireRejected(t, whoAmI(withToken(t, token), w.client), "Token has expired")

	w.server.SetExpiry(token.ID, c.Now().Add(time.Second))
	require.NoError(t, whoAmI(withToken(t, token), w.client))
	w.server.SetExpiry(token.ID, c.Now())
	requireRejected(t, whoAmI(withToken(t, token), w.client), "Token has expired")
	w.server.SetExpiry(token.ID, time.Time{})
	require.NoError(t, whoAmI(withToken(t, token), w.client), "no expiry")
	require.Panics(t, func() { w.server.SetExpiry("ak-unknown", time.Time{}) })
}

func TestAuth_NewTokensCanBeRejectedAtFirst(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	w.server.RefuseNewTokensFor(3 * time.Second)
	late := w.owner.NewToken()
	require.NoError(t, whoAmI(withToken(t, w.token), w.client), "the token was there before")
	requireRejected(t, whoAmI(withToken(t, late), w.client), "Token not found")
	c.Advance(3 * time.Second)
	require.NoError(t, whoAmI(withToken(t, late), w.client))

	later := w.owner.NewToken()
	requireRejected(t, whoAmI(withToken(t, later), w.client), "Token not found")
	w.server.ClearFaults()
	require.NoError(t, whoAmI(withToken(t, later), w.client))
	require.NoError(t, whoAmI(withToken(t, w.owner.NewToken()), w.client))
}

func TestAuth_MissingRPCsAreUnimplementedAfterAuthentication(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	conn := connect(t, w.server)
	stream := func(ctx context.Context) error {
		logs, err := w.client.AppGetLogs(ctx, &pb.AppGetLogsRequest{})
		require.NoError(t, err)
		_, err = logs.Recv()
		return err
	}
	for name, call := range map[string]func(context.Context) error{
		"unary":  func(ctx context.Context) error { _, err := w.client.AppList(ctx, &pb.AppListRequest{}); return err },
		"stream": stream,
		"newer than the stubs": func(ctx context.Context) error {
			return conn.Invoke(ctx, "/modal.client.ModalClient/MemberTokenList", &emptypb.Empty{}, &emptypb.Empty{}, grpc.WaitForReady(true))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireCode(t, codes.Unimplemented, call(withToken(t, w.token)))
			requireRejected(t, call(withToken(t, modaltest.Token{})), "Token missing")
		})
	}
}

func TestAuth_WorkspacesDoNotSeeEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	other := w.server.AddWorkspace("globex")
	other.AddEnvironment("theirs")
	token := other.AddMember("ada").NewToken()

	info, err := w.client.TokenInfoGet(withToken(t, token), &pb.TokenInfoGetRequest{})
	require.NoError(t, err)
	require.Equal(t, other.ID(), info.GetWorkspaceId())
	require.NotEqual(t, w.workspace.ID(), other.ID())
	require.NotEqual(t, w.owner.ID(), info.GetUserIdentity().GetUserId())
	_, err = w.client.EnvironmentGetOrCreate(withToken(t, w.token),
		pb.EnvironmentGetOrCreateRequest_builder{DeploymentName: "theirs"}.Build())
	requireCode(t, codes.NotFound, err)
}
