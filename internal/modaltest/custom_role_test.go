// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"strings"
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// unknownTexts returns the texts in a message's fields with that number, which the generated stubs do not decode.
func unknownTexts(t *testing.T, m proto.Message, field protowire.Number) (texts []string) {
	t.Helper()
	for rest := []byte(m.ProtoReflect().GetUnknown()); len(rest) > 0; {
		number, kind, n := protowire.ConsumeTag(rest)
		require.Positive(t, n)
		value := rest[n:]
		size := protowire.ConsumeFieldValue(number, kind, value)
		require.Positive(t, size)
		if number == field {
			text, _ := protowire.ConsumeString(value)
			texts = append(texts, text)
		}
		rest = value[size:]
	}
	return texts
}

func TestEnvironmentRoleSet_GivesACustomRoleByItsID(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	id := w.workspace.AddCustomRole("deployer", "app.deploy", "secret.read")
	require.Panics(t, func() { w.workspace.AddCustomRole("viewer") })
	w.mint(t, "ci")
	give := func(id string, more pb.EnvironmentRoleSetRequest_builder) error {
		more.ServiceUserName, more.EnvironmentName = "ci", "main"
		req := more.Build()
		req.ProtoReflect().SetUnknown(protowire.AppendString(protowire.AppendTag(nil, 8, protowire.BytesType), id))
		_, err := w.client.EnvironmentRoleSet(withToken(t, w.token), req)
		return err
	}
	requireCode(t, codes.NotFound, give("rd-none", pb.EnvironmentRoleSetRequest_builder{}))
	requireCode(t, codes.InvalidArgument, give(id, pb.EnvironmentRoleSetRequest_builder{Role: viewer}))
	require.NoError(t, give(id, pb.EnvironmentRoleSetRequest_builder{}))

	info, err := w.client.ServiceUserInfo(withToken(t, w.token), pb.ServiceUserInfoRequest_builder{ServiceUserName: "ci"}.Build())
	require.NoError(t, err)
	roles := info.GetServiceUser().GetEnvironmentRoles()
	require.Len(t, roles, 1)
	require.EqualValues(t, 5, roles[0].GetRole())
	require.Equal(t, "deployer", roles[0].GetRoleStr())
	require.Contains(t, strings.Join(unknownTexts(t, roles[0], 6), ""), "app.deploy")
	require.Equal(t, "deployer", w.server.ServiceUsers()[0].Roles["main"])

	resp, err := w.client.EnvironmentGetRoles(withToken(t, w.token), pb.EnvironmentGetRolesRequest_builder{EnvironmentId: w.environmentID(t, "main")}.Build())
	require.NoError(t, err)
	require.Len(t, resp.GetPrincipalRoles(), 2)
	for _, p := range resp.GetPrincipalRoles() {
		choosable := unknownTexts(t, p, 14)
		require.Len(t, choosable, 1, "each principal can get the custom role")
		require.Contains(t, choosable[0], "secret.read")
		require.Len(t, unknownTexts(t, p, 13), map[string]int{"ci": 1}[p.GetServiceUserName()])
	}
}

func TestEnvironmentList_ReportsTheCallersRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.workspace.AddEnvironment("staging")
	w.workspace.AddCustomRole("deployer")
	robot, _ := w.mint(t, "ci")
	w.workspace.SetServiceUserRole("ci", "main", "viewer")
	w.workspace.SetServiceUserRole("ci", "staging", "deployer")
	for name, want := range map[string]struct {
		token modaltest.Token
		roles map[string]pb.EnvironmentRole
	}{
		"owner":        {w.token, map[string]pb.EnvironmentRole{"main": contributor, "staging": contributor}},
		"service user": {robot, map[string]pb.EnvironmentRole{"main": viewer, "staging": 5}},
	} {
		resp, err := w.client.EnvironmentList(withToken(t, want.token), &emptypb.Empty{})
		require.NoError(t, err)
		got := map[string]pb.EnvironmentRole{}
		for _, item := range resp.GetItems() {
			got[item.GetName()] = item.GetEffectiveRole()
		}
		require.Equal(t, want.roles, got, name)
	}
}
