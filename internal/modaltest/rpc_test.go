// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestTokenInfoGet_DescribesAMembersToken(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	expires := c.Now().Add(time.Hour)
	token := w.owner.NewToken(modaltest.Named("laptop"), modaltest.ExpiresAt(expires))

	info, err := w.client.TokenInfoGet(withToken(t, token), &pb.TokenInfoGetRequest{})
	require.NoError(t, err)
	require.Equal(t, token.ID, info.GetTokenId())
	require.Equal(t, "laptop", info.GetTokenName())
	require.Equal(t, "acme", info.GetWorkspaceName())
	require.Equal(t, w.workspace.Name(), info.GetWorkspaceName())
	require.Equal(t, w.workspace.ID(), info.GetWorkspaceId())
	require.Equal(t, "ada", info.GetUserIdentity().GetUsername())
	require.Equal(t, w.owner.ID(), info.GetUserIdentity().GetUserId())
	require.False(t, info.HasServiceUserIdentity())
	require.Equal(t, c.Now(), info.GetCreatedAt().AsTime())
	require.Equal(t, expires, info.GetExpiresAt().AsTime())
}

func TestTokenInfoGet_DescribesAServiceUserAndItsCreator(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.workspace.AddServiceUser("ci")
	info, err := w.client.TokenInfoGet(withToken(t, token), &pb.TokenInfoGetRequest{})
	require.NoError(t, err)
	require.False(t, info.HasUserIdentity())
	require.Equal(t, "ci", info.GetServiceUserIdentity().GetServiceUserName())
	require.Regexp(t, `^sv-[A-Za-z0-9]{22}$`, info.GetServiceUserIdentity().GetServiceUserId())
	require.Equal(t, w.owner.ID(), info.GetServiceUserIdentity().GetCreatedBy().GetUserId())
	require.False(t, info.HasExpiresAt())
}

func TestAuthTokenGet_ReturnsAJWTThatExpiresInTheFuture(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	resp, err := w.client.AuthTokenGet(withToken(t, w.token), &pb.AuthTokenGetRequest{})
	require.NoError(t, err)
	parts := strings.Split(resp.GetToken(), ".")
	require.Len(t, parts, 3)
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	require.NoError(t, err)
	var claims struct{ Exp int64 }
	require.NoError(t, json.Unmarshal(payload, &claims))
	require.Greater(t, claims.Exp, c.Now().Unix())
}

func TestWorkspaceNameLookup_AnswersInTheFieldThatClientsRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	resp, err := w.client.WorkspaceNameLookup(withToken(t, w.token), &emptypb.Empty{})
	require.NoError(t, err)
	require.Equal(t, "acme", resp.GetUsername())
}

func TestClientHello_AcceptsAValidTokenWithoutWarnings(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	resp, err := w.client.ClientHello(withToken(t, w.token), &emptypb.Empty{})
	require.NoError(t, err)
	require.Empty(t, resp.GetServerWarnings())
	_, err = w.client.ClientHello(withToken(t, modaltest.Token{}), &emptypb.Empty{})
	requireRejected(t, err, "Token missing")
}

func TestEnvironmentList_ListsAllEnvironmentsAndOneDefault(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.workspace.AddEnvironment("staging")
	resp, err := w.client.EnvironmentList(withToken(t, w.token), &emptypb.Empty{})
	require.NoError(t, err)
	items := resp.GetItems()
	require.Len(t, items, 2)
	require.Equal(t, []string{"main", "staging"}, []string{items[0].GetName(), items[1].GetName()})
	require.Equal(t, []bool{true, false}, []bool{items[0].GetDefault(), items[1].GetDefault()})
	require.Regexp(t, `^en-[A-Za-z0-9]{22}$`, items[1].GetEnvironmentId())
	require.NotEqual(t, items[0].GetEnvironmentId(), items[1].GetEnvironmentId())
	require.NotEqual(t, items[0].GetWebhookSuffix(), items[1].GetWebhookSuffix())
}

func TestEnvironmentGetOrCreate_FindsCreatesAndRefuses(t *testing.T) {
	t.Parallel()
	const (
		lookup = pb.ObjectCreationType_OBJECT_CREATION_TYPE_UNSPECIFIED
		ensure = pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_IF_MISSING
		create = pb.ObjectCreationType_OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS
	)
	w := newWorld(t)
	get := func(name string, creation pb.ObjectCreationType) (*pb.EnvironmentGetOrCreateResponse, error) {
		return w.client.EnvironmentGetOrCreate(withToken(t, w.token), pb.EnvironmentGetOrCreateRequest_builder{
			DeploymentName: name, ObjectCreationType: creation,
		}.Build())
	}
	byDefault, err := get("", lookup)
	require.NoError(t, err)
	require.Equal(t, "main", byDefault.GetMetadata().GetName())

	_, err = get("dev", lookup)
	requireCode(t, codes.NotFound, err)
	made, err := get("dev", ensure)
	require.NoError(t, err)
	found, err := get("dev", lookup)
	require.NoError(t, err)
	require.Equal(t, made.GetEnvironmentId(), found.GetEnvironmentId())
	require.Equal(t, "dev", found.GetMetadata().GetName())
	again, err := get("dev", ensure)
	require.NoError(t, err)
	require.Equal(t, made.GetEnvironmentId(), again.GetEnvironmentId())
	_, err = get("dev", create)
	requireCode(t, codes.AlreadyExists, err)
	_, err = get("dev2", create)
	require.NoError(t, err)

	for _, name := range []string{"has.period", "en-like-an-id", "-dash", strings.Repeat("a", 65)} {
		_, err = get(name, ensure)
		requireCode(t, codes.InvalidArgument, err)
	}
	_, err = get("dev", pb.ObjectCreationType_OBJECT_CREATION_TYPE_EPHEMERAL)
	requireCode(t, codes.InvalidArgument, err)
}
