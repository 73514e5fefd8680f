// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"testing"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
)

// roleOf is one principal in EnvironmentGetRoles's answer.
type roleOf struct {
	userID, serviceUserName, role string
	assigned                      bool
}

func TestEnvironmentGetRoles_ReportsEveryPrincipalsRole(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	bob, eve := w.workspace.AddMember("bob"), w.workspace.AddMember("eve")
	w.workspace.AddServiceUser("robot")
	w.mint(t, "ci")
	w.mint(t, "lost")
	w.server.AddWorkspace("globex").AddServiceUser("stranger")
	for _, req := range []pb.EnvironmentRoleSetRequest_builder{
		{UserId: bob.ID(), Role: viewer},
		{UserId: eve.ID(), Role: noAccess},
		{ServiceUserName: "ci", Role: contributor},
	} {
		req.EnvironmentName = "main"
		require.NoError(t, w.assign(t, req))
	}
	req := pb.EnvironmentGetRolesRequest_builder{EnvironmentId: w.environmentID(t, "main")}.Build()
	resp, err := w.client.EnvironmentGetRoles(withToken(t, bob.NewToken()), req)
	require.NoError(t, err)
	require.Equal(t, "main", resp.GetName())
	var got []roleOf
	for _, p := range resp.GetPrincipalRoles() {
		got = append(got, roleOf{p.GetUserId(), p.GetServiceUserName(), p.GetRoleStr(), p.GetHasRoleAssignment()})
	}
	require.Equal(t, []roleOf{
		{w.owner.ID(), "", "contributor", false},
		{bob.ID(), "", "viewer", true},
		{eve.ID(), "", "no-access", true},
		{"", "robot", "contributor", false},
		{"", "ci", "contributor", true},
		{"", "lost", "no-access", false},
	}, got)

	_, err = w.client.EnvironmentGetRoles(withToken(t, eve.NewToken()), req)
	requireCode(t, codes.NotFound, err)
	_, err = w.client.EnvironmentGetRoles(withToken(t, w.token), &pb.EnvironmentGetRolesRequest{})
	requireCode(t, codes.NotFound, err)
}
