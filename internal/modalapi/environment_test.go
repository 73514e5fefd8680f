// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

const roleRPC = "EnvironmentRoleSet"

func TestSetEnvironmentRole_IsWhatModalThenReports(t *testing.T) {
	t.Parallel()
	for _, role := range []modalapi.EnvironmentRole{modalapi.RoleViewer, modalapi.RoleContributor, modalapi.RoleNoAccess} {
		t.Run(string(role), func(t *testing.T) {
			t.Parallel()
			server, admin, client, minted := withServiceUser(t)
			server.Workspace("acme").AddEnvironment("staging")

			// The second call changes the role, the third one changes nothing.
			for _, given := range []modalapi.EnvironmentRole{modalapi.RoleViewer, role, role} {
				require.NoError(t, client.SetEnvironmentRole(t.Context(), admin, minted.ID, "staging", given))
			}

			user, err := client.ServiceUser(t.Context(), admin, "ci")
			require.NoError(t, err)
			require.Equal(t, map[string]modalapi.EnvironmentRole{"staging": role}, user.Roles)
			require.Equal(t, map[string]string{"staging": string(role)}, server.ServiceUsers()[0].Roles)
		})
	}
}

func TestSetEnvironmentRole_PassingFailureIsRetried(t *testing.T) {
	t.Parallel()
	server, admin, client, minted := withServiceUser(t)
	server.Inject(roleRPC, modaltest.Fault{Code: codes.Unavailable})
	server.Inject(roleRPC, modaltest.Fault{Code: codes.Internal, AfterCommit: true, Times: 2})

	err := client.SetEnvironmentRole(t.Context(), admin, minted.ID, "main", modalapi.RoleViewer)

	require.NoError(t, err)
	require.Len(t, server.Calls(roleRPC), 4)
	require.Equal(t, map[string]string{"main": "viewer"}, server.ServiceUsers()[0].Roles)
}

func TestSetEnvironmentRole_UnknownEnvironmentIsNamed(t *testing.T) {
	t.Parallel()
	server, admin, client, minted := withServiceUser(t)

	err := client.SetEnvironmentRole(t.Context(), admin, minted.ID, "stagin", modalapi.RoleViewer)

	require.Equal(t, modalapi.KindNotFound, modalapi.KindOf(err))
	require.ErrorContains(t, err, `EnvironmentRoleSet: not found: environment "stagin": `)
	require.Len(t, server.Calls(roleRPC), 1)
}

func TestSetEnvironmentRole_FailureNamesTheEnvironmentAndKeepsItsKind(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]string{
		codes.NotFound:         `EnvironmentRoleSet: not found: environment "main": no`,
		codes.InvalidArgument:  `EnvironmentRoleSet: not found: environment "main": no`,
		codes.PermissionDenied: `EnvironmentRoleSet: forbidden: environment "main": no`,
		codes.Unauthenticated:  `EnvironmentRoleSet: refused: environment "main": no`,
		codes.Unimplemented:    `EnvironmentRoleSet: unsupported: environment "main": no`,
		codes.Unavailable:      `EnvironmentRoleSet: unavailable: environment "main": no`,
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t)
			server.Inject(roleRPC, modaltest.Fault{Code: code, Message: "no", Times: -1})
			client := newClient(t, modalapi.Options{ServerURL: server.URL()})

			err := client.SetEnvironmentRole(t.Context(), admin, "sv-1", "main", modalapi.RoleViewer)

			require.EqualError(t, err, want)
		})
	}
}

func TestSetEnvironmentRole_FailureWithoutWordsStillNamesTheEnvironment(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	server.Inject(roleRPC, modaltest.Fault{Code: codes.NotFound})

	err := newClient(t, modalapi.Options{ServerURL: server.URL()}).SetEnvironmentRole(t.Context(), admin, "sv-1", "main", modalapi.RoleViewer)

	require.EqualError(t, err, `EnvironmentRoleSet: not found: environment "main"`)
}

// An empty environment is the default one to Modal, an empty role the end of the assignment.
func TestSetEnvironmentRole_WhatWouldMeanSomethingElseIsNotSent(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})

	for want, c := range map[string]struct {
		id, environment string
		role            modalapi.EnvironmentRole
	}{
		"service user's ID is missing":  {"", "main", modalapi.RoleViewer},
		"environment's name is missing": {"sv-1", "", modalapi.RoleViewer},
		`environment "main": "" is`:     {"sv-1", "main", ""},
		`environment "main": "owner" is no role: give viewer, contributor or no-access`: {"sv-1", "main", "owner"},
	} {
		err := client.SetEnvironmentRole(t.Context(), admin, c.id, c.environment, c.role)
		require.ErrorContains(t, err, want)
		require.Equal(t, modalapi.KindNone, modalapi.KindOf(err))
	}
	require.Empty(t, server.Calls(""))
}

func TestEnvironments_AreThoseThatTheTokenMaySeeSorted(t *testing.T) {
	t.Parallel()
	server, admin, client, minted := withServiceUser(t)
	for _, name := range []string{"staging", "dev"} {
		server.Workspace("acme").AddEnvironment(name)
	}
	require.NoError(t, client.SetEnvironmentRole(t.Context(), admin, minted.ID, "staging", modalapi.RoleViewer))

	all, err := client.Environments(t.Context(), admin)
	require.NoError(t, err)
	few, err := client.Environments(t.Context(), minted.Token)
	require.NoError(t, err)

	require.Equal(t, []string{"dev", "main", "staging"}, all)
	require.Equal(t, []string{"staging"}, few)
}

func TestMemberRole_IsTheOneInTheWorkspaceOfTheToken(t *testing.T) {
	t.Parallel()
	server := modaltest.Start(t)
	workspace := server.AddWorkspace("acme")
	owner := workspace.AddMember("ada")
	manager, user := workspace.AddMember("bob"), workspace.AddMember("eve")
	manager.SetRole(modaltest.RoleManager)
	stranger := server.AddWorkspace("other").AddMember("zoe")
	token := user.NewToken()
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})

	for id, want := range map[string]modalapi.MemberRole{
		owner.ID():    modalapi.MemberOwner,
		manager.ID():  modalapi.MemberManager,
		user.ID():     modalapi.MemberUser,
		stranger.ID(): "",
	} {
		role, err := client.MemberRole(t.Context(), modalapi.Token{ID: token.ID, Secret: token.Secret}, id)
		require.NoError(t, err)
		require.Equal(t, want, role)
	}
}

func TestMemberRole_FormerMembershipAndUnknownRoleGiveNone(t *testing.T) {
	t.Parallel()
	member := func(id string, role pb.MemberRole, deleted float64) *pb.WorkspaceMembersListItem {
		return pb.WorkspaceMembersListItem_builder{UserId: id, MemberRole: role, DeletedAt: deleted}.Build()
	}
	client := answering(t, func(context.Context) (*pb.WorkspaceMembersListResponse, error) {
		return pb.WorkspaceMembersListResponse_builder{Members: []*pb.WorkspaceMembersListItem{
			member("us-left", pb.MemberRole_MEMBER_ROLE_OWNER, 1772366400),
			member("us-back", pb.MemberRole_MEMBER_ROLE_OWNER, 1772366400),
			member("us-back", pb.MemberRole_MEMBER_ROLE_USER, 0),
			member("us-new", 99, 0),
		}}.Build(), nil
	})

	for id, want := range map[string]modalapi.MemberRole{"us-left": "", "us-back": modalapi.MemberUser, "us-new": "", "us-none": ""} {
		role, err := client.MemberRole(t.Context(), someToken, id)
		require.NoError(t, err)
		require.Equal(t, want, role, id)
	}
}

// withServiceUser starts an emulator whose workspace has the scoped service user "ci".
func withServiceUser(t *testing.T) (*modaltest.Server, modalapi.Token, *modalapi.Client, modalapi.MintedServiceUser) {
	t.Helper()
	server, admin := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})
	minted, err := client.CreateServiceUser(t.Context(), admin, ci)
	require.NoError(t, err)
	return server, admin, client, minted
}
