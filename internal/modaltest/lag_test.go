// SPDX-License-Identifier: MPL-2.0

package modaltest_test

import (
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/emptypb"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// listed returns the names in ServiceUserList's answer.
func (w *world) listed(t *testing.T) (names []string) {
	t.Helper()
	answer, err := w.client.ServiceUserList(withToken(t, w.token), &emptypb.Empty{})
	require.NoError(t, err)
	for _, user := range answer.GetServiceUsers() {
		names = append(names, user.GetName())
	}
	return names
}

// rolesOf returns the roles by environment in ServiceUserInfo's answer.
func (w *world) rolesOf(t *testing.T, name string) map[string]string {
	t.Helper()
	answer, err := w.client.ServiceUserInfo(withToken(t, w.token), pb.ServiceUserInfoRequest_builder{ServiceUserName: name}.Build())
	require.NoError(t, err)
	roles := map[string]string{}
	for _, entry := range answer.GetServiceUser().GetEnvironmentRoles() {
		roles[entry.GetEnvironmentName()] = entry.GetRoleStr()
	}
	return roles
}

func TestLagServiceUserList_DelaysOnlyTheList(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := newWorld(t, modaltest.WithClock(clock.Now))
	old := w.workspace.AddServiceUser("old")
	clock.Advance(time.Hour)
	w.server.LagServiceUserList(90 * time.Second)

	w.workspace.AddServiceUser("new")
	require.True(t, w.server.DeleteToken(old.ID))

	require.Equal(t, []string{"old"}, w.listed(t))
	requireRejected(t, whoAmI(withToken(t, old), w.client), "Token not found")
	_, err := w.client.ServiceUserInfo(withToken(t, w.token), pb.ServiceUserInfoRequest_builder{ServiceUserName: "old"}.Build())
	requireCode(t, codes.NotFound, err)
	require.Empty(t, w.rolesOf(t, "new"))
	require.Len(t, w.server.ServiceUsers(), 1)

	clock.Advance(89 * time.Second)
	require.Equal(t, []string{"old"}, w.listed(t))
	clock.Advance(time.Second)
	require.Equal(t, []string{"new"}, w.listed(t))
}

func TestLagServiceUserList_EndsWithZeroAndWithClearFaults(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*modaltest.Server){
		"zero":   func(s *modaltest.Server) { s.LagServiceUserList(0) },
		"faults": (*modaltest.Server).ClearFaults,
	} {
		w := newWorld(t)
		old := w.workspace.AddServiceUser("old")
		w.server.LagServiceUserList(time.Hour)
		w.workspace.AddServiceUser("new")
		require.True(t, w.server.DeleteToken(old.ID))

		end(w.server)

		require.Equal(t, []string{"new"}, w.listed(t), name)
	}
}

func TestLagServiceUserRoles_ReturnsEarlierRoles(t *testing.T) {
	t.Parallel()
	clock := newClock()
	w := newWorld(t, modaltest.WithClock(clock.Now))
	w.workspace.AddEnvironment("staging")
	w.workspace.AddServiceUser("ci")
	clock.Advance(time.Hour)
	w.workspace.SetServiceUserRole("ci", "main", "contributor")
	clock.Advance(time.Hour)
	w.server.LagServiceUserRoles(time.Minute)

	require.NoError(t, w.assign(t, pb.EnvironmentRoleSetRequest_builder{ServiceUserName: "ci", EnvironmentName: "main", Role: viewer}))
	clock.Advance(30 * time.Second)
	w.workspace.SetServiceUserRole("ci", "staging", "viewer")

	present := map[string]string{"main": "viewer", "staging": "viewer"}
	require.Equal(t, map[string]string{"main": "contributor"}, w.rolesOf(t, "ci"))
	require.Equal(t, present, w.server.ServiceUsers()[0].Roles)
	clock.Advance(30 * time.Second)
	require.Equal(t, map[string]string{"main": "viewer"}, w.rolesOf(t, "ci"))
	clock.Advance(30 * time.Second)
	require.Equal(t, present, w.rolesOf(t, "ci"))

	w.workspace.SetServiceUserRole("ci", "staging", "")
	require.Equal(t, present, w.rolesOf(t, "ci"))
	w.server.ClearFaults()
	require.Equal(t, map[string]string{"main": "viewer"}, w.rolesOf(t, "ci"))
}
