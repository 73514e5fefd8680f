// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"context"
	"slices"
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func TestCustomRoles_AreListedOnceWithTheirPermissions(t *testing.T) {
	t.Parallel()
	server, admin, client, _ := withServiceUser(t)
	environments, err := client.Environments(t.Context(), admin)
	require.NoError(t, err)
	list := func() []modalapi.CustomRole {
		roles, failure := client.CustomRoles(t.Context(), admin, environments[0].ID)
		require.NoError(t, failure)
		return roles
	}
	require.Empty(t, list())

	workspace := server.Workspaces()[0]
	want := []modalapi.CustomRole{
		{ID: workspace.AddCustomRole("deployer", "app.deploy", "secret.read"), Permissions: []string{"app.deploy", "secret.read"}},
		{ID: workspace.AddCustomRole("idle")},
	}
	roles := list()
	require.Len(t, roles, 2)
	for _, role := range want {
		require.True(t, slices.ContainsFunc(roles, func(got modalapi.CustomRole) bool {
			return got.ID == role.ID && slices.Equal(got.Permissions, role.Permissions)
		}), role.ID)
	}
	_, err = client.CustomRoles(t.Context(), admin, "en-none")
	require.Equal(t, modalapi.KindNotFound, modalapi.KindOf(err))
}

func TestServiceUser_ACustomRoleIsNeverTakenForABuiltInRole(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]modalapi.EnvironmentRole{"deployer": "deployer (custom)", "viewer": "viewer (custom)", "": "custom"} {
		client := answering(t, func(context.Context) (*pb.ServiceUserInfoResponse, error) {
			role := pb.ServiceUser_EnvironmentRoleEntry_builder{EnvironmentName: "main", Role: 5, RoleStr: text}.Build()
			user := pb.ServiceUser_builder{Name: "ci", ServiceUserId: "sv-1", EnvironmentRoles: []*pb.ServiceUser_EnvironmentRoleEntry{role}}.Build()
			return pb.ServiceUserInfoResponse_builder{ServiceUser: user}.Build(), nil
		})

		user, err := client.ServiceUser(t.Context(), someToken, "ci")

		require.NoError(t, err)
		require.Equal(t, map[string]modalapi.EnvironmentRole{"main": want}, user.Roles)
	}
}
