// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// mint creates a scoped service user as the workspace's owner.
func (w *world) mint(t *testing.T, name string) (modaltest.Token, string) {
	t.Helper()
	resp, err := w.client.ServiceUserCreate(withToken(t, w.token),
		pb.ServiceUserCreateRequest_builder{Name: name, Scoped: true}.Build())
	require.NoError(t, err)
	return modaltest.Token{ID: resp.GetTokenId(), Secret: resp.GetTokenSecret()}, resp.GetServiceUserId()
}

func (w *world) remove(t *testing.T, id string) error {
	t.Helper()
	_, err := w.client.ServiceUserDelete(withToken(t, w.token), pb.ServiceUserDeleteRequest_builder{ServiceUserId: id}.Build())
	return err
}

func (w *world) describe(t *testing.T, name string) (*pb.ServiceUser, error) {
	t.Helper()
	resp, err := w.client.ServiceUserInfo(withToken(t, w.token), pb.ServiceUserInfoRequest_builder{ServiceUserName: name}.Build())
	return resp.GetServiceUser(), err
}

func TestServiceUserCreate_ReturnsAWorkingTokenOfTheServiceUser(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	resp, err := w.client.ServiceUserCreate(withToken(t, w.token),
		pb.ServiceUserCreateRequest_builder{Name: "ci_1-a", Scoped: true, ExpiresInSeconds: 3600}.Build())
	require.NoError(t, err)
	require.Regexp(t, `^sv-[A-Za-z0-9]{22}$`, resp.GetServiceUserId())
	require.Equal(t, c.Now().Add(time.Hour), resp.GetExpiresAt().AsTime())
	token := modaltest.Token{ID: resp.GetTokenId(), Secret: resp.GetTokenSecret()}
	require.Contains(t, w.server.Secrets(), token.Secret)

	c.Advance(time.Minute)
	who, err := w.client.TokenInfoGet(withToken(t, token), &pb.TokenInfoGetRequest{})
	require.NoError(t, err)
	require.Equal(t, token.ID, who.GetTokenId())
	require.Equal(t, w.workspace.ID(), who.GetWorkspaceId())
	require.Equal(t, resp.GetServiceUserId(), who.GetServiceUserIdentity().GetServiceUserId())
	require.Equal(t, "ci_1-a", who.GetServiceUserIdentity().GetServiceUserName())
	require.Equal(t, w.owner.ID(), who.GetServiceUserIdentity().GetCreatedBy().GetUserId())

	user, err := w.describe(t, "ci_1-a")
	require.NoError(t, err)
	require.Equal(t, resp.GetServiceUserId(), user.GetServiceUserId())
	require.Equal(t, token.ID, user.GetTokenId())
	require.True(t, user.GetScoped())
	require.Equal(t, "ada", user.GetCreatedBy())
	require.InDelta(t, c.Now().Add(-time.Minute).Unix(), user.GetCreatedAt(), 1e-3)
	require.InDelta(t, c.Now().Unix(), user.GetLastUsedAt(), 1e-3)
	require.InDelta(t, c.Now().Add(59*time.Minute).Unix(), user.GetExpiresAt(), 1e-3)
	require.Empty(t, user.GetEnvironmentRoles())

	require.Equal(t, []modaltest.ServiceUserInfo{{
		ID: resp.GetServiceUserId(), Name: "ci_1-a", TokenID: token.ID, Workspace: "acme", Scoped: true,
		Roles: map[string]string{}, Created: c.Now().Add(-time.Minute), Expires: c.Now().Add(59 * time.Minute), LastUsed: c.Now(),
	}}, w.server.ServiceUsers())
}

func TestServiceUserCreate_WithoutAnExpiryNeverExpires(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	resp, err := w.client.ServiceUserCreate(withToken(t, w.token), pb.ServiceUserCreateRequest_builder{Name: "ci"}.Build())
	require.NoError(t, err)
	require.False(t, resp.HasExpiresAt())
	user, err := w.describe(t, "ci")
	require.NoError(t, err)
	require.False(t, user.HasExpiresAt())
	require.False(t, user.GetScoped())
	require.Zero(t, user.GetLastUsedAt())
	require.Zero(t, w.server.ServiceUsers()[0].Expires)
}

func TestServiceUserCreate_RefusesUsedAndMalformedNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.workspace.AddServiceUser("seeded")
	w.mint(t, strings.Repeat("a", 63))
	for name, want := range map[string]codes.Code{
		strings.Repeat("a", 63): codes.AlreadyExists,
		"seeded":                codes.AlreadyExists,
		"":                      codes.InvalidArgument,
		"Upper":                 codes.InvalidArgument,
		"has.dot":               codes.InvalidArgument,
		"line\n":                codes.InvalidArgument,
		strings.Repeat("a", 64): codes.InvalidArgument,
	} {
		_, err := w.client.ServiceUserCreate(withToken(t, w.token), pb.ServiceUserCreateRequest_builder{Name: name}.Build())
		requireCode(t, want, err)
	}
	require.Len(t, w.server.ServiceUsers(), 2)

	other := w.server.AddWorkspace("globex").AddMember("eve").NewToken()
	_, err := w.client.ServiceUserCreate(withToken(t, other), pb.ServiceUserCreateRequest_builder{Name: "seeded"}.Build())
	require.NoError(t, err, "names belong to a workspace")
}

func TestServiceUserCreate_OnlyOneConcurrentCallWithANameSucceeds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx := withToken(t, w.token)
	results := make(chan codes.Code, 20)
	var group sync.WaitGroup
	for range cap(results) {
		group.Go(func() {
			_, err := w.client.ServiceUserCreate(ctx, pb.ServiceUserCreateRequest_builder{Name: "ci"}.Build())
			results <- status.Code(err)
		})
	}
	group.Wait()
	close(results)
	count := map[codes.Code]int{}
	for code := range results {
		count[code]++
	}
	require.Equal(t, map[codes.Code]int{codes.OK: 1, codes.AlreadyExists: cap(results) - 1}, count)
	require.Len(t, w.server.ServiceUsers(), 1)
}

func TestServiceUserDelete_DeletesByIDAndByName(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]func(id string) *pb.ServiceUserDeleteRequest{
		"by ID": func(id string) *pb.ServiceUserDeleteRequest {
			return pb.ServiceUserDeleteRequest_builder{ServiceUserId: id}.Build()
		},
		"by name": func(string) *pb.ServiceUserDeleteRequest {
			return pb.ServiceUserDeleteRequest_builder{ServiceUserName: "ci"}.Build()
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			token, id := w.mint(t, "ci")
			require.True(t, w.server.Accepts(token.ID, token.Secret))
			_, err := w.client.ServiceUserDelete(withToken(t, w.token), request(id))
			require.NoError(t, err)
			requireRejected(t, whoAmI(withToken(t, token), w.client), "Token not found")
			require.False(t, w.server.Accepts(token.ID, token.Secret))
			require.Empty(t, w.server.ServiceUsers())
			_, err = w.describe(t, "ci")
			requireCode(t, codes.NotFound, err)
			_, err = w.client.ServiceUserDelete(withToken(t, w.token), request(id))
			requireCode(t, codes.NotFound, err)
			w.mint(t, "ci")
		})
	}
}

func TestServiceUserDelete_NeedsExactlyOneServiceUserOfTheWorkspace(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, id := w.mint(t, "ci")
	for name, request := range map[string]*pb.ServiceUserDeleteRequest{
		"neither": {},
		"both":    pb.ServiceUserDeleteRequest_builder{ServiceUserId: id, ServiceUserName: "ci"}.Build(),
	} {
		_, err := w.client.ServiceUserDelete(withToken(t, w.token), request)
		require.Equal(t, codes.InvalidArgument, status.Code(err), name)
	}
	other := w.server.AddWorkspace("globex").AddMember("eve").NewToken()
	_, err := w.client.ServiceUserDelete(withToken(t, other), pb.ServiceUserDeleteRequest_builder{ServiceUserId: id}.Build())
	requireCode(t, codes.NotFound, err)
	require.Len(t, w.server.ServiceUsers(), 1)
}

func TestServiceUser_StaysListedAfterItsExpiryUntilDeleted(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	resp, err := w.client.ServiceUserCreate(withToken(t, w.token),
		pb.ServiceUserCreateRequest_builder{Name: "ci", ExpiresInSeconds: 60}.Build())
	require.NoError(t, err)
	before, err := w.describe(t, "ci")
	require.NoError(t, err)
	c.Advance(time.Minute)
	require.False(t, w.server.Accepts(resp.GetTokenId(), resp.GetTokenSecret()))
	after, err := w.describe(t, "ci")
	require.NoError(t, err)
	require.NotEqual(t, before.GetStatus(), after.GetStatus())
	require.Len(t, w.server.ServiceUsers(), 1)
	require.NoError(t, w.remove(t, resp.GetServiceUserId()))
	require.Empty(t, w.server.ServiceUsers())
}

func TestServiceUserList_ListsTheWorkspaceInOrderOfCreation(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.server.AddWorkspace("globex").AddServiceUser("theirs")
	var want []string
	for i := range 12 {
		want = append(want, fmt.Sprintf("ci-%d", 12-i))
		w.mint(t, want[i])
	}
	resp, err := w.client.ServiceUserList(withToken(t, w.token), &emptypb.Empty{})
	require.NoError(t, err)
	var got []string
	for _, user := range resp.GetServiceUsers() {
		got = append(got, user.GetName())
	}
	require.Equal(t, want, got)
}

func TestServiceUserInfo_UnknownNameIsNotFound(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.describe(t, "nobody")
	requireCode(t, codes.NotFound, err)
	_, err = w.describe(t, "")
	requireCode(t, codes.InvalidArgument, err)
}

func TestAccepts_PredictsTheNextCallAndIsNoCall(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	require.True(t, w.server.Accepts(w.token.ID, w.token.Secret))
	require.False(t, w.server.Accepts(w.token.ID, w.owner.NewToken().Secret))
	require.False(t, w.server.Accepts("", ""))
	w.server.RefuseNewTokensFor(time.Second)
	token, _ := w.mint(t, "ci")
	require.False(t, w.server.Accepts(token.ID, token.Secret))
	c.Advance(time.Second)
	require.True(t, w.server.Accepts(token.ID, token.Secret))
	require.Zero(t, w.server.ServiceUsers()[0].LastUsed)
	require.Len(t, w.server.Calls(""), 1, "only the creation was called")
}

func TestSetServiceUserRole_ChangesTheReportedRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.workspace.AddEnvironment("staging")
	w.workspace.AddServiceUser("ci")

	w.workspace.SetServiceUserRole("ci", "main", "viewer")
	w.workspace.SetServiceUserRole("ci", "staging", "contributor")
	w.workspace.SetServiceUserRole("ci", "main", "no-access")
	w.workspace.SetServiceUserRole("ci", "staging", "")

	require.Equal(t, map[string]string{"main": "no-access"}, w.server.ServiceUsers()[0].Roles)
	for _, wrong := range [][3]string{{"cd", "main", "viewer"}, {"ci", "prod", "viewer"}, {"ci", "", "viewer"}, {"ci", "main", "owner"}} {
		require.Panics(t, func() { w.workspace.SetServiceUserRole(wrong[0], wrong[1], wrong[2]) })
	}
}

func TestWithExpiryDeletes_DeletesExpiredServiceUsersAndFreesNames(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := newWorld(t, modaltest.WithClock(clock.Now), modaltest.WithExpiryDeletes())
	ends := modaltest.ExpiresAt(clock.Now().Add(time.Hour))
	user := w.workspace.AddServiceUser("ci", ends)
	member := w.owner.NewToken(ends)
	require.Len(t, w.server.ServiceUsers(), 1)

	clock.Advance(time.Hour)

	requireRejected(t, whoAmI(withToken(t, user), w.client), "Token not found")
	requireRejected(t, whoAmI(withToken(t, member), w.client), "Token has expired")
	_, err := w.client.ServiceUserInfo(withToken(t, w.token), pb.ServiceUserInfoRequest_builder{ServiceUserName: "ci"}.Build())
	requireCode(t, codes.NotFound, err)
	require.Empty(t, w.server.ServiceUsers())
	require.False(t, w.server.DeleteToken(user.ID))
	w.workspace.AddServiceUser("ci")
}
