// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"math"
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

func TestServiceUser_ReportsEveryField(t *testing.T) {
	t.Parallel()
	answer := pb.ServiceUser_builder{
		Name: "ci", ServiceUserId: "sv-1", TokenId: someID, Status: "active", Scoped: true,
		CreatedAt: 1772366400.25, ExpiresAt: proto.Float64(1772452800.000001), LastUsedAt: 1772366401,
		EnvironmentRoles: []*pb.ServiceUser_EnvironmentRoleEntry{
			role("main", pb.EnvironmentRole_ENVIRONMENT_ROLE_CONTRIBUTOR, ""),
			role("staging", pb.EnvironmentRole_ENVIRONMENT_ROLE_VIEWER, ""),
			role("dev", pb.EnvironmentRole_ENVIRONMENT_ROLE_NO_ACCESS, ""),
			role("text", pb.EnvironmentRole_ENVIRONMENT_ROLE_UNSPECIFIED, "viewer"),
			role("both", pb.EnvironmentRole_ENVIRONMENT_ROLE_VIEWER, "contributor"),
			role("new text", pb.EnvironmentRole_ENVIRONMENT_ROLE_UNSPECIFIED, "deployer"),
			role("new number", 99, ""),
			role("new both", 99, "auditor"),
			role("observed", pb.EnvironmentRole_ENVIRONMENT_ROLE_MODAL_ADMINISTERED_OBSERVER, ""),
			role("neither", pb.EnvironmentRole_ENVIRONMENT_ROLE_UNSPECIFIED, ""),
		},
	}.Build()
	want := modalapi.ServiceUser{
		ID: "sv-1", Name: "ci", TokenID: someID, Status: "active", Scoped: true,
		Roles: map[string]modalapi.EnvironmentRole{
			"main": modalapi.RoleContributor, "staging": modalapi.RoleViewer, "dev": modalapi.RoleNoAccess,
			"text": modalapi.RoleViewer, "both": modalapi.RoleViewer,
			"new text": "deployer", "new number": "99", "new both": "auditor",
			"observed": "ENVIRONMENT_ROLE_MODAL_ADMINISTERED_OBSERVER", "neither": "",
		},
		CreatedAt:  time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC),
		ExpiresAt:  time.Date(2026, 3, 2, 12, 0, 0, 1e3, time.UTC),
		LastUsedAt: time.Date(2026, 3, 1, 12, 0, 1, 0, time.UTC),
	}
	client := answering(t, func(context.Context) (*pb.ServiceUserInfoResponse, error) {
		return pb.ServiceUserInfoResponse_builder{ServiceUser: answer}.Build(), nil
	})
	lister := answering(t, func(context.Context) (*pb.ServiceUserListResponse, error) {
		second := pb.ServiceUser_builder{Name: "ci-2"}.Build()
		return pb.ServiceUserListResponse_builder{ServiceUsers: []*pb.ServiceUser{answer, second}}.Build(), nil
	})

	one, err := client.ServiceUser(t.Context(), someToken, "ci")
	require.NoError(t, err)
	all, err := lister.ServiceUsers(t.Context(), someToken)
	require.NoError(t, err)

	require.Equal(t, want, one)
	require.Equal(t, []modalapi.ServiceUser{want, {Name: "ci-2", Roles: map[string]modalapi.EnvironmentRole{}}}, all)
}

func TestServiceUser_MissingTimeIsZero(t *testing.T) {
	t.Parallel()
	for _, seconds := range []float64{0, -1, math.NaN(), math.Inf(1), math.Inf(-1), 1e300, 253402300800} {
		client := answering(t, func(context.Context) (*pb.ServiceUserInfoResponse, error) {
			return pb.ServiceUserInfoResponse_builder{ServiceUser: pb.ServiceUser_builder{
				Name: "ci", ServiceUserId: "sv-1", CreatedAt: seconds, ExpiresAt: &seconds, LastUsedAt: seconds,
			}.Build()}.Build(), nil
		})

		user, err := client.ServiceUser(t.Context(), someToken, "ci")

		require.NoError(t, err)
		require.True(t, user.CreatedAt.IsZero() && user.ExpiresAt.IsZero() && user.LastUsedAt.IsZero(), "%v", seconds)
	}
}

func TestServiceUser_AnswerAboutAnotherNameIsAnError(t *testing.T) {
	t.Parallel()
	for name, user := range map[string]*pb.ServiceUser{
		"another": pb.ServiceUser_builder{Name: "ci-2", ServiceUserId: "sv-2"}.Build(),
		"nobody":  nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client := answering(t, func(context.Context) (*pb.ServiceUserInfoResponse, error) {
				return pb.ServiceUserInfoResponse_builder{ServiceUser: user}.Build(), nil
			})

			got, err := client.ServiceUser(t.Context(), someToken, "ci")

			require.Zero(t, got)
			require.EqualError(t, err, "Modal gave no usable answer when asked to describe the service user: the answer of 127.0.0.1 cannot be trusted: it describes another service user")
		})
	}
}

func TestServiceUser_LivesFromItsCreationToItsDeletion(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})
	_, err := client.ServiceUser(t.Context(), admin, "ci")
	require.Equal(t, modalapi.KindNotFound, modalapi.KindOf(err))

	minted, err := client.CreateServiceUser(t.Context(), admin, ci)
	require.NoError(t, err)
	user, err := client.ServiceUser(t.Context(), admin, "ci")
	require.NoError(t, err)
	require.Equal(t, minted.ID, user.ID)
	require.Equal(t, minted.Token.ID, user.TokenID)
	require.True(t, user.Scoped)
	require.False(t, user.CreatedAt.IsZero())
	all, err := client.ServiceUsers(t.Context(), admin)
	require.NoError(t, err)
	require.Equal(t, []modalapi.ServiceUser{user}, all)

	require.NoError(t, client.DeleteServiceUser(t.Context(), admin, minted.ID))
	_, err = client.WhoAmI(t.Context(), minted.Token)
	require.Equal(t, modalapi.KindRefused, modalapi.KindOf(err))
	_, err = client.ServiceUser(t.Context(), admin, "ci")
	require.Equal(t, modalapi.KindNotFound, modalapi.KindOf(err))
	all, err = client.ServiceUsers(t.Context(), admin)
	require.NoError(t, err)
	require.Empty(t, all)
	require.Equal(t, modalapi.KindNotFound, modalapi.KindOf(client.DeleteServiceUser(t.Context(), admin, minted.ID)))
}

func TestDeleteServiceUser_LeavesOtherServiceUsers(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})
	first, err := client.CreateServiceUser(t.Context(), admin, modalapi.NewServiceUser{Name: "ci"})
	require.NoError(t, err)
	second, err := client.CreateServiceUser(t.Context(), admin, modalapi.NewServiceUser{Name: "ci-2"})
	require.NoError(t, err)

	require.NoError(t, client.DeleteServiceUser(t.Context(), admin, first.ID))

	_, err = client.WhoAmI(t.Context(), second.Token)
	require.NoError(t, err)
}

func TestDeleteServiceUser_LostAnswerIsRetriedUntilNotFound(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})
	minted, err := client.CreateServiceUser(t.Context(), admin, ci)
	require.NoError(t, err)
	server.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable})
	server.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, AfterCommit: true})

	err = client.DeleteServiceUser(t.Context(), admin, minted.ID)

	require.Equal(t, modalapi.KindNotFound, modalapi.KindOf(err))
	require.Len(t, server.Calls("ServiceUserDelete"), 3)
	require.Empty(t, server.ServiceUsers())
}

func TestServiceUserCalls_EmptyIDOrNameIsNotSent(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})

	err := client.DeleteServiceUser(t.Context(), admin, "")
	require.ErrorContains(t, err, "ID is missing")
	require.Equal(t, modalapi.KindNone, modalapi.KindOf(err))
	_, err = client.ServiceUser(t.Context(), admin, "")
	require.ErrorContains(t, err, "name is missing")
	require.Equal(t, modalapi.KindNone, modalapi.KindOf(err))
	require.Empty(t, server.Calls(""))
}

// Modal's lists have no pages.
func TestServiceUsers_LargeWorkspaceIsListedCompletely(t *testing.T) {
	t.Parallel()
	const count = 30_000
	users := make([]*pb.ServiceUser, count)
	for i := range users {
		users[i] = pb.ServiceUser_builder{Name: "ci", TokenId: someID, EnvironmentRoles: []*pb.ServiceUser_EnvironmentRoleEntry{
			role("an-environment-with-a-name-as-long-as-the-names-of-environments", 0, "viewer"),
			role("another-environment-whose-name-is-as-long-as-the-name-above-is", 0, "contributor"),
		}}.Build()
	}
	answer := pb.ServiceUserListResponse_builder{ServiceUsers: users}.Build()
	require.Greater(t, proto.Size(answer), 4<<20)
	client := newClient(t, modalapi.Options{
		Timeout:   2 * time.Minute,
		ServerURL: serve(t, func(context.Context) (*pb.ServiceUserListResponse, error) { return answer, nil }),
	})

	got, err := client.ServiceUsers(t.Context(), someToken)

	require.NoError(t, err)
	require.Len(t, got, count)
}

func role(environment string, number pb.EnvironmentRole, text string) *pb.ServiceUser_EnvironmentRoleEntry {
	return pb.ServiceUser_EnvironmentRoleEntry_builder{EnvironmentName: environment, Role: number, RoleStr: text}.Build()
}
