// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

const roleRPC = "EnvironmentRoleSet"

func TestSetEnvironmentRole_ChangesTheRoleThatModalReports(t *testing.T) {
	t.Parallel()
	for _, role := range []modalapi.EnvironmentRole{modalapi.RoleViewer, modalapi.RoleContributor, modalapi.RoleNoAccess} {
		t.Run(string(role), func(t *testing.T) {
			t.Parallel()
			server, admin, client, minted := withServiceUser(t)
			server.Workspace("acme").AddEnvironment("staging")
			staging := idOf(t, client, admin, "staging")

			// The second call changes the role. The third call changes nothing.
			for _, given := range []modalapi.EnvironmentRole{modalapi.RoleViewer, role, role} {
				require.NoError(t, client.SetEnvironmentRole(t.Context(), admin, minted.ID, staging, given))
			}

			user, err := client.ServiceUser(t.Context(), admin, "ci")
			require.NoError(t, err)
			require.Equal(t, map[string]modalapi.EnvironmentRole{"staging": role}, user.Roles)
			require.Equal(t, map[string]string{"staging": string(role)}, server.ServiceUsers()[0].Roles)
		})
	}
}

func TestSetEnvironmentRole_TransientFailureIsRetried(t *testing.T) {
	t.Parallel()
	server, admin, client, minted := withServiceUser(t)
	main := idOf(t, client, admin, "main")
	server.Inject(roleRPC, modaltest.Fault{Code: codes.Unavailable})
	server.Inject(roleRPC, modaltest.Fault{Code: codes.Internal, AfterCommit: true, Times: 2})

	err := client.SetEnvironmentRole(t.Context(), admin, minted.ID, main, modalapi.RoleViewer)

	require.NoError(t, err)
	require.Len(t, server.Calls(roleRPC), 4)
	require.Equal(t, map[string]string{"main": "viewer"}, server.ServiceUsers()[0].Roles)
}

func TestSetEnvironmentRole_UnknownEnvironmentIsNotFound(t *testing.T) {
	t.Parallel()
	server, admin, client, minted := withServiceUser(t)

	err := client.SetEnvironmentRole(t.Context(), admin, minted.ID, "en-gone", modalapi.RoleViewer)

	require.EqualError(t, err, "Modal has no such environment or service user: Environment 'en-gone' not found")
	require.Len(t, server.Calls(roleRPC), 1)
}

// Modal's published clients send the same fields and never an environment's name.
func TestSetEnvironmentRole_IsSentByIDsWithTheRoleInBothForms(t *testing.T) {
	t.Parallel()
	var sent *pb.EnvironmentRoleSetRequest
	serverURL := serveRequests(t, func(_ context.Context, req any) (any, error) {
		sent = req.(*pb.EnvironmentRoleSetRequest)
		return &emptypb.Empty{}, nil
	})

	err := newClient(t, modalapi.Options{ServerURL: serverURL}).SetEnvironmentRole(t.Context(), someToken, "sv-1", "en-1", modalapi.RoleContributor)

	require.NoError(t, err)
	require.True(t, proto.Equal(pb.EnvironmentRoleSetRequest_builder{
		ServiceUserId: "sv-1", EnvironmentId: "en-1",
		Role: pb.EnvironmentRole_ENVIRONMENT_ROLE_CONTRIBUTOR, RoleStr: "contributor",
	}.Build(), sent), "%v", sent)
}

func TestSetEnvironmentRole_FailureKeepsItsKind(t *testing.T) {
	t.Parallel()
	for code, want := range map[codes.Code]string{
		codes.NotFound:         "Modal has no such environment or service user: no",
		codes.InvalidArgument:  "Modal says that the request to set the role in an environment is invalid: no",
		codes.PermissionDenied: "Modal says that this token may not set the role in an environment: no",
		codes.Unauthenticated:  "Modal rejected the token: no",
		codes.Unimplemented:    "Modal does not know how to set the role in an environment: no",
		codes.Unavailable:      "Modal gave no usable answer when asked to set the role in an environment: no",
	} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			server, admin := emulated(t)
			server.Inject(roleRPC, modaltest.Fault{Code: code, Message: "no", Times: -1})
			client := newClient(t, modalapi.Options{ServerURL: server.URL()})

			err := client.SetEnvironmentRole(t.Context(), admin, "sv-1", "en-1", modalapi.RoleViewer)

			require.EqualError(t, err, want)
			require.Equal(t, "no", modalapi.Said(err))
		})
	}
}

// For Modal, an empty environment means the default environment, and an empty role removes the assignment.
func TestSetEnvironmentRole_EmptyIDsAndUnknownRolesAreNotSent(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})

	for want, c := range map[string]struct {
		id, environment string
		role            modalapi.EnvironmentRole
	}{
		"service user's ID is missing":           {"", "en-1", modalapi.RoleViewer},
		"environment's ID is missing":            {"sv-1", "", modalapi.RoleViewer},
		`cannot be set to ""`:                    {"sv-1", "en-1", ""},
		`cannot be set to "owner": give viewer,`: {"sv-1", "en-1", "owner"},
	} {
		err := client.SetEnvironmentRole(t.Context(), admin, c.id, c.environment, c.role)
		require.ErrorContains(t, err, want)
		require.Equal(t, modalapi.KindNone, modalapi.KindOf(err))
	}
	require.Empty(t, server.Calls(""))
}

func TestEnvironments_ListsVisibleEnvironmentsSorted(t *testing.T) {
	t.Parallel()
	server, admin, client, minted := withServiceUser(t)
	for _, name := range []string{"staging", "dev"} {
		server.Workspace("acme").AddEnvironment(name)
	}
	require.NoError(t, client.SetEnvironmentRole(t.Context(), admin, minted.ID, idOf(t, client, admin, "staging"), modalapi.RoleViewer))

	all, err := client.Environments(t.Context(), admin)
	require.NoError(t, err)
	few, err := client.Environments(t.Context(), minted.Token)
	require.NoError(t, err)

	require.Equal(t, []string{"dev", "main", "staging"}, namesOf(all))
	require.Equal(t, []string{"staging"}, namesOf(few))
}

func TestEnvironments_OmitsEntriesWithoutAUsableIDOrName(t *testing.T) {
	t.Parallel()
	environment := func(id, name string) *pb.EnvironmentListItem {
		return pb.EnvironmentListItem_builder{EnvironmentId: id, Name: name}.Build()
	}
	client := answering(t, func(context.Context) (*pb.EnvironmentListResponse, error) {
		return pb.EnvironmentListResponse_builder{Items: []*pb.EnvironmentListItem{
			environment("en-1", "main"), environment("", "no-id"), environment("en-2", ""), environment("en-3", "two\nlines"),
			environment("en 4", "dev"), environment("en-5", strings.Repeat("x", 129)), environment(strings.Repeat("x", 129), "long"),
			environment("en-6", "echo-"+someSecret), environment("en-7", "as-production-europe-1"),
		}}.Build(), nil
	})

	environments, err := client.Environments(t.Context(), someToken)

	require.NoError(t, err)
	require.Equal(t, []modalapi.Environment{{ID: "en-7", Name: "as-production-europe-1"}, {ID: "en-1", Name: "main"}}, environments)
}

func TestEnvironments_TooManyEntriesAreRefused(t *testing.T) {
	t.Parallel()
	client := answering(t, func(context.Context) (*pb.EnvironmentListResponse, error) {
		items := slices.Repeat([]*pb.EnvironmentListItem{{}}, 10_001)
		return pb.EnvironmentListResponse_builder{Items: items}.Build(), nil
	})

	_, err := client.Environments(t.Context(), someToken)

	require.Equal(t, modalapi.KindUnavailable, modalapi.KindOf(err))
	require.ErrorContains(t, err, "it has 10001 environments, which is more than a workspace can have")
}

// idOf returns the ID of an environment.
func idOf(t *testing.T, client *modalapi.Client, token modalapi.Token, name string) string {
	t.Helper()
	environments, err := client.Environments(t.Context(), token)
	require.NoError(t, err)
	for _, environment := range environments {
		if environment.Name == name {
			return environment.ID
		}
	}
	t.Fatalf("there is no environment %q", name)
	return ""
}

func namesOf(environments []modalapi.Environment) (names []string) {
	for _, environment := range environments {
		names = append(names, environment.Name)
	}
	return names
}

func TestMemberRole_IsTheRoleInTheTokensWorkspace(t *testing.T) {
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

func TestMemberRole_IsEmptyForFormerMembersAndUnknownRoles(t *testing.T) {
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

// withServiceUser starts an emulator with the scoped service user "ci".
func withServiceUser(t *testing.T) (*modaltest.Server, modalapi.Token, *modalapi.Client, modalapi.MintedServiceUser) {
	t.Helper()
	server, admin := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})
	minted, err := client.CreateServiceUser(t.Context(), admin, ci)
	require.NoError(t, err)
	return server, admin, client, minted
}

func TestEnvironments_ReportTheCallersRole(t *testing.T) {
	t.Parallel()
	server, admin, client, minted := withServiceUser(t)
	workspace := server.Workspaces()[0]
	workspace.AddEnvironment("staging")
	workspace.AddCustomRole("deployer")
	workspace.SetServiceUserRole("ci", "main", "viewer")
	workspace.SetServiceUserRole("ci", "staging", "deployer")
	for name, want := range map[string]struct {
		token modalapi.Token
		role  modalapi.EnvironmentRole
	}{"main": {minted.Token, modalapi.RoleViewer}, "staging": {minted.Token, "custom"}, "dev": {admin, modalapi.RoleContributor}} {
		environments, err := client.Environments(t.Context(), want.token)
		require.NoError(t, err)
		i := slices.IndexFunc(environments, func(e modalapi.Environment) bool { return e.Name == name })
		if name == "dev" {
			i = 0
		}
		require.Equal(t, want.role, environments[i].Role, name)
	}
}

func TestMembers_TellWhoHasLeft(t *testing.T) {
	t.Parallel()
	server, admin := emulated(t)
	client := newClient(t, modalapi.Options{ServerURL: server.URL()})
	gone := server.Workspaces()[0].AddMember("gone")
	gone.Leave()

	members, err := client.Members(t.Context(), admin)

	require.NoError(t, err)
	left := map[bool]int{}
	for _, m := range members {
		left[m.Left]++
		require.Equal(t, m.UserID == gone.ID(), m.Left)
	}
	require.Equal(t, 1, left[true])
	role, err := client.MemberRole(t.Context(), admin, gone.ID())
	require.NoError(t, err)
	require.Empty(t, role)
}
