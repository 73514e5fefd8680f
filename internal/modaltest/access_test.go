// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"context"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

const (
	dropped     = pb.EnvironmentRole_ENVIRONMENT_ROLE_UNSPECIFIED
	viewer      = pb.EnvironmentRole_ENVIRONMENT_ROLE_VIEWER
	contributor = pb.EnvironmentRole_ENVIRONMENT_ROLE_CONTRIBUTOR
	noAccess    = pb.EnvironmentRole_ENVIRONMENT_ROLE_NO_ACCESS
)

func (w *world) assign(t *testing.T, req pb.EnvironmentRoleSetRequest_builder) error {
	t.Helper()
	_, err := w.client.EnvironmentRoleSet(withToken(t, w.token), req.Build())
	return err
}

// visible returns the names of the environments that the token sees. It checks both RPCs that show
// environments.
func (w *world) visible(t *testing.T, token modaltest.Token) []string {
	t.Helper()
	list, err := w.client.EnvironmentList(withToken(t, token), &emptypb.Empty{})
	require.NoError(t, err)
	names := []string{}
	for _, item := range list.GetItems() {
		names = append(names, item.GetName())
	}
	for _, name := range []string{"main", "staging"} {
		_, err := w.client.EnvironmentGetOrCreate(withToken(t, token), pb.EnvironmentGetOrCreateRequest_builder{DeploymentName: name}.Build())
		if err != nil {
			requireCode(t, codes.NotFound, err)
			require.NotContains(t, names, name)
		} else {
			require.Contains(t, names, name)
		}
	}
	return names
}

func (w *world) environmentID(t *testing.T, name string) string {
	t.Helper()
	env, err := w.client.EnvironmentGetOrCreate(withToken(t, w.token), pb.EnvironmentGetOrCreateRequest_builder{DeploymentName: name}.Build())
	require.NoError(t, err)
	return env.GetEnvironmentId()
}

func TestEnvironmentRoleSet_ScopedServiceUserSeesOnlyItsEnvironments(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.workspace.AddEnvironment("staging")
	token, _ := w.mint(t, "ci")
	require.Empty(t, w.visible(t, token))
	for _, step := range []struct {
		environment string
		role        pb.EnvironmentRole
		visible     []string
		roles       map[string]string
	}{
		{"staging", viewer, []string{"staging"}, map[string]string{"staging": "viewer"}},
		{"staging", viewer, []string{"staging"}, map[string]string{"staging": "viewer"}},
		{"main", contributor, []string{"main", "staging"}, map[string]string{"main": "contributor", "staging": "viewer"}},
		{"staging", noAccess, []string{"main"}, map[string]string{"main": "contributor", "staging": "no-access"}},
		{"staging", dropped, []string{"main"}, map[string]string{"main": "contributor"}},
		{"staging", dropped, []string{"main"}, map[string]string{"main": "contributor"}},
	} {
		require.NoError(t, w.assign(t, pb.EnvironmentRoleSetRequest_builder{
			ServiceUserName: "ci", EnvironmentName: step.environment, Role: step.role,
		}))
		require.Equal(t, step.visible, w.visible(t, token))
		require.Equal(t, step.roles, w.server.ServiceUsers()[0].Roles)
	}
}

func TestEnvironmentRoleSet_UnscopedServiceUserSeesAllExceptNoAccess(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.workspace.AddEnvironment("staging")
	robot := w.workspace.AddServiceUser("robot")
	bob := w.workspace.AddMember("bob")
	person := bob.NewToken()
	require.Equal(t, []string{"main", "staging"}, w.visible(t, robot))
	require.NoError(t, w.assign(t, pb.EnvironmentRoleSetRequest_builder{ServiceUserName: "robot", EnvironmentName: "main", Role: noAccess}))
	require.Equal(t, []string{"staging"}, w.visible(t, robot))
	_, err := w.client.EnvironmentGetOrCreate(withToken(t, robot), &pb.EnvironmentGetOrCreateRequest{})
	requireCode(t, codes.NotFound, err)

	require.NoError(t, w.assign(t, pb.EnvironmentRoleSetRequest_builder{UserId: bob.ID(), EnvironmentName: "staging", Role: noAccess}))
	require.Equal(t, []string{"main"}, w.visible(t, person))
	bob.SetRole(modaltest.RoleManager)
	require.Equal(t, []string{"main", "staging"}, w.visible(t, person))
}

func TestEnvironmentRoleSet_AcceptsIDsAndNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.workspace.AddEnvironment("staging")
	_, id := w.mint(t, "ci")
	for name, req := range map[string]pb.EnvironmentRoleSetRequest_builder{
		"names":            {ServiceUserName: "ci", EnvironmentName: "staging", Role: viewer},
		"IDs":              {ServiceUserId: id, EnvironmentId: w.environmentID(t, "staging"), Role: viewer},
		"word":             {ServiceUserId: id, EnvironmentName: "staging", RoleStr: "viewer"},
		"role before word": {ServiceUserId: id, EnvironmentName: "staging", Role: viewer, RoleStr: "contributor"},
	} {
		require.NoError(t, w.assign(t, req), name)
		require.Equal(t, map[string]string{"staging": "viewer"}, w.server.ServiceUsers()[0].Roles, name)
		user, err := w.describe(t, "ci")
		require.NoError(t, err)
		require.Len(t, user.GetEnvironmentRoles(), 1)
		entry := user.GetEnvironmentRoles()[0]
		require.Equal(t, "staging", entry.GetEnvironmentName())
		require.Equal(t, w.environmentID(t, "staging"), entry.GetEnvironmentId())
		require.Equal(t, viewer, entry.GetRole())
		require.Equal(t, "viewer", entry.GetRoleStr())
		require.NoError(t, w.assign(t, pb.EnvironmentRoleSetRequest_builder{ServiceUserId: id, EnvironmentName: "staging"}))
	}
}

func TestEnvironmentRoleSet_RefusesInvalidRequestsAndChangesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, id := w.mint(t, "ci")
	const observer = pb.EnvironmentRole_ENVIRONMENT_ROLE_MODAL_ADMINISTERED_OBSERVER
	for name, test := range map[string]struct {
		req  pb.EnvironmentRoleSetRequest_builder
		want codes.Code
	}{
		"environment name":  {pb.EnvironmentRoleSetRequest_builder{ServiceUserName: "ci", EnvironmentName: "nowhere", Role: viewer}, codes.NotFound},
		"environment ID":    {pb.EnvironmentRoleSetRequest_builder{ServiceUserName: "ci", EnvironmentId: "en-nowhere", Role: viewer}, codes.NotFound},
		"no environment":    {pb.EnvironmentRoleSetRequest_builder{ServiceUserName: "ci", Role: viewer}, codes.InvalidArgument},
		"both environments": {pb.EnvironmentRoleSetRequest_builder{ServiceUserName: "ci", EnvironmentName: "main", EnvironmentId: "en-x", Role: viewer}, codes.InvalidArgument},
		"service user name": {pb.EnvironmentRoleSetRequest_builder{ServiceUserName: "nobody", EnvironmentName: "main", Role: viewer}, codes.NotFound},
		"service user ID":   {pb.EnvironmentRoleSetRequest_builder{ServiceUserId: "sv-nobody", EnvironmentName: "main", Role: viewer}, codes.NotFound},
		"user":              {pb.EnvironmentRoleSetRequest_builder{UserId: "us-nobody", EnvironmentName: "main", Role: viewer}, codes.NotFound},
		"nobody":            {pb.EnvironmentRoleSetRequest_builder{EnvironmentName: "main", Role: viewer}, codes.InvalidArgument},
		"two principals":    {pb.EnvironmentRoleSetRequest_builder{UserId: w.owner.ID(), ServiceUserId: id, EnvironmentName: "main", Role: viewer}, codes.InvalidArgument},
		"word":              {pb.EnvironmentRoleSetRequest_builder{ServiceUserName: "ci", EnvironmentName: "main", RoleStr: "king"}, codes.InvalidArgument},
		"observer":          {pb.EnvironmentRoleSetRequest_builder{ServiceUserName: "ci", EnvironmentName: "main", Role: observer}, codes.InvalidArgument},
	} {
		err := w.assign(t, test.req)
		require.Equal(t, test.want.String(), status.Code(err).String(), name)
	}
	require.Empty(t, w.server.ServiceUsers()[0].Roles)
}

func TestEnvironmentGetOrCreate_ScopedServiceUserCannotCreateOne(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token, _ := w.mint(t, "ci")
	requireCode(t, codes.PermissionDenied, ensureEnvironment(withToken(t, token), w.client, create))
	requireCode(t, codes.NotFound, ensureEnvironment(withToken(t, w.token), w.client, lookUp))
}

// managementCalls returns every call that only owners and managers may make.
func managementCalls(client pb.ModalClientClient) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"create": func(ctx context.Context) error {
			_, err := client.ServiceUserCreate(ctx, pb.ServiceUserCreateRequest_builder{Name: "new"}.Build())
			return err
		},
		"delete": func(ctx context.Context) error {
			_, err := client.ServiceUserDelete(ctx, pb.ServiceUserDeleteRequest_builder{ServiceUserName: "new"}.Build())
			return err
		},
		"info": func(ctx context.Context) error {
			_, err := client.ServiceUserInfo(ctx, pb.ServiceUserInfoRequest_builder{ServiceUserName: "robot"}.Build())
			return err
		},
		"list": func(ctx context.Context) error {
			_, err := client.ServiceUserList(ctx, &emptypb.Empty{})
			return err
		},
		"assign": func(ctx context.Context) error {
			_, err := client.EnvironmentRoleSet(ctx, pb.EnvironmentRoleSetRequest_builder{
				ServiceUserName: "robot", EnvironmentName: "main", Role: viewer,
			}.Build())
			return err
		},
	}
}

func TestManaging_NeedsAnOwnerOrManager(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	robot := w.workspace.AddServiceUser("robot")
	bob := w.workspace.AddMember("bob")
	person := bob.NewToken()
	calls := managementCalls(w.client)
	for name, call := range calls {
		for _, token := range []modaltest.Token{robot, person} {
			require.Equal(t, codes.PermissionDenied, status.Code(call(withToken(t, token))), name)
		}
	}
	require.Len(t, w.server.ServiceUsers(), 1)
	require.Empty(t, w.server.ServiceUsers()[0].Roles)

	bob.SetRole(modaltest.RoleManager)
	for _, token := range []modaltest.Token{person, w.token} {
		for _, name := range []string{"create", "info", "list", "assign", "delete"} {
			require.NoError(t, calls[name](withToken(t, token)), name)
		}
	}
	w.owner.SetRole(modaltest.RoleUser)
	requireCode(t, codes.PermissionDenied, calls["list"](withToken(t, w.token)))
	require.Panics(t, func() { bob.SetRole("king") })
}

func TestSetServiceUsers_MissingPlanMakesManagingFail(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	robot := w.workspace.AddServiceUser("robot")
	w.workspace.SetServiceUsers(false)
	for name, call := range managementCalls(w.client) {
		err := call(withToken(t, w.token))
		require.Equal(t, codes.FailedPrecondition, status.Code(err), name)
		require.Equal(t, "service users are not available on this workspace's plan", status.Convert(err).Message())
		require.Equal(t, codes.PermissionDenied, status.Code(call(withToken(t, robot))), name)
	}
	w.workspace.SetServiceUsers(true)
	require.NoError(t, managementCalls(w.client)["create"](withToken(t, w.token)))
}

func TestWorkspaceMembersList_ReportsEachMembersRole(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	bob, eve := w.workspace.AddMember("bob"), w.workspace.AddMember("eve")
	bob.SetRole(modaltest.RoleManager)
	w.workspace.AddServiceUser("robot")
	w.server.AddWorkspace("globex").AddMember("mallory")
	for _, token := range []modaltest.Token{w.token, eve.NewToken()} {
		resp, err := w.client.WorkspaceMembersList(withToken(t, token), &emptypb.Empty{})
		require.NoError(t, err)
		type member struct {
			name, id string
			role     pb.MemberRole
		}
		var got []member
		for _, m := range resp.GetMembers() {
			got = append(got, member{m.GetMemberDisplayname(), m.GetUserId(), m.GetMemberRole()})
			require.NotEqual(t, m.GetUserId(), m.GetMemberId())
			require.InDelta(t, c.Now().Unix(), m.GetJoinedAt(), 1e-3)
		}
		require.Equal(t, []member{
			{"ada", w.owner.ID(), pb.MemberRole_MEMBER_ROLE_OWNER},
			{"bob", bob.ID(), pb.MemberRole_MEMBER_ROLE_MANAGER},
			{"eve", eve.ID(), pb.MemberRole_MEMBER_ROLE_USER},
		}, got)
	}
}

func TestLeave_KeepsTheMemberListedAndRejectsItsTokens(t *testing.T) {
	t.Parallel()
	c := newClock()
	w := newWorld(t, modaltest.WithClock(c.Now))
	bob := w.workspace.AddMember("bob")
	token := bob.NewToken()
	c.Advance(time.Hour)
	bob.Leave()

	requireRejected(t, whoAmI(withToken(t, token), w.client), "Token not found")
	require.Nil(t, w.workspace.Member("bob"))
	require.Len(t, w.workspace.Members(), 1)
	back := w.workspace.AddMember("bob")
	require.NotEqual(t, bob.ID(), back.ID())
	resp, err := w.client.WorkspaceMembersList(withToken(t, w.token), &emptypb.Empty{})
	require.NoError(t, err)
	left := map[string]float64{}
	for _, m := range resp.GetMembers() {
		left[m.GetUserId()] = m.GetDeletedAt()
	}
	require.Equal(t, map[string]float64{w.owner.ID(): 0, bob.ID(): float64(c.Now().Unix()), back.ID(): 0}, left)
}
