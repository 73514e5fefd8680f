// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	pb "github.com/modal-labs/modal-client/go/proto/modal_proto"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

type environmentRoles = map[string]modalapi.EnvironmentRole

var (
	viewer      = environmentRoles{"main": modalapi.RoleViewer}
	contributor = environmentRoles{"main": modalapi.RoleContributor}
	both        = environmentRoles{"main": modalapi.RoleContributor, "staging": modalapi.RoleContributor}
)

// granting writes the environment roles of a managed role and returns the warnings.
func (h *harness) granting(name string, roles environmentRoles) []string {
	h.t.Helper()
	done, err := h.engine.Roles.Write(h.t.Context(), model.RoleWrite{Name: name, Access: model.AccessWrite{EnvironmentRoles: to(roles)}})
	require.NoError(h.t, err)
	return done.Warnings
}

// stale makes Modal answer the given number of times that service users have this role in main, whatever role
// they have.
func (h *harness) stale(role pb.EnvironmentRole, word string, times int) {
	h.modal.Inject("ServiceUserInfo", modaltest.Fault{Times: times, Mangle: func(answer proto.Message) {
		for _, entry := range answer.(*pb.ServiceUserInfoResponse).GetServiceUser().GetEnvironmentRoles() {
			if entry.GetEnvironmentName() == "main" {
				entry.SetRole(role)
				entry.SetRoleStr(word)
			}
		}
	}})
}

const (
	pbViewer      = pb.EnvironmentRole_ENVIRONMENT_ROLE_VIEWER
	pbContributor = pb.EnvironmentRole_ENVIRONMENT_ROLE_CONTRIBUTOR
)

func TestEnvironmentRoles_NarrowingIsSetAlthoughModalReportsItAsDone(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", both))
	old := h.current("ci").ID
	h.rotate(model.RotateRequest{Role: "ci"})
	current := h.current("ci").ID
	h.stale(pbViewer, "viewer", -1)

	require.Empty(t, h.granting("ci", viewer))

	for _, id := range []string{old, current} {
		require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, h.rolesOf(id))
	}
}

func TestEnvironmentRoles_AWriteThatModalDoesNotShowWarnsAndIsSetAgain(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", contributor))
	h.stale(pbContributor, "contributor", -1)
	began := h.clock()

	warnings := h.granting("ci", viewer)

	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "Modal still reports main=contributor")
	require.LessOrEqual(t, h.clock().Sub(began), state.BriefBudget, "the write may wait only this long")
	h.modal.ClearFaults()
	h.workspace.SetServiceUserRole(h.current("ci").Identity, "main", "contributor") // the write was lost at Modal
	h.minutes(2)
	require.Equal(t, map[string]string{"main": "viewer"}, h.rolesOf(h.current("ci").ID), "the worker must set the roles before the next verification")
	require.False(t, h.verify("ci").RolesDiffer)
	sets := len(h.modal.Calls("EnvironmentRoleSet"))
	h.minutes(60)
	require.Len(t, h.modal.Calls("EnvironmentRoleSet"), sets, "once Modal shows the roles, the engine must not set them again")
}

// afterLostWrite returns a harness whose role ci was narrowed to viewer. Modal has lost that change, so the service user
// still has contributor.
func afterLostWrite(t *testing.T) *harness {
	t.Helper()
	h := newHarness(t)
	h.write(managedRole("ci", contributor))
	h.stale(pbContributor, "contributor", -1)
	require.Len(t, h.granting("ci", viewer), 1)
	h.modal.ClearFaults()
	h.workspace.SetServiceUserRole(h.current("ci").Identity, "main", "contributor")
	return h
}

func TestEnvironmentRoles_AreSetAgainAlsoAfterAWriteOfAnotherField(t *testing.T) {
	t.Parallel()
	h := afterLostWrite(t)

	h.write(model.RoleWrite{Name: "ci", RotationPeriod: to(40 * model.Day)})

	h.minutes(2)
	require.Equal(t, map[string]string{"main": "viewer"}, h.rolesOf(h.current("ci").ID))
}

func TestEnvironmentRoles_AShortLagOfModalDoesNotWarn(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", contributor))
	h.stale(pbContributor, "contributor", 3)
	require.Empty(t, h.granting("ci", viewer))
	require.False(t, h.current("ci").RolesDiffer)
}

func TestEnvironmentRoles_TheSameWriteAgainAsksOnceAndSetsNothing(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", both))
	calls := h.modal.CallCount()
	require.Empty(t, h.granting("ci", both))
	require.Equal(t, calls+1, h.modal.CallCount(), "the same write again, as Terraform sends it, may ask Modal only once")
}

func TestEnvironmentRoles_ARoleThatNobodyRequestedIsRemoved(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", contributor))
	h.workspace.SetServiceUserRole(h.current("ci").Identity, "staging", "contributor")
	require.Empty(t, h.granting("ci", viewer))
	require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, h.rolesOf(h.current("ci").ID))
}

func TestEnvironmentRoles_AHalfFailedWriteRestoresOnlyTheRolesRights(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", environmentRoles{"main": modalapi.RoleViewer, "staging": modalapi.RoleViewer}))
	id := h.current("ci").ID
	h.workspace.SetServiceUserRole(h.current("ci").Identity, "main", "contributor")
	sets := 0
	h.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Match: func(modaltest.Call) bool { sets++; return sets == 2 }})
	_, err := h.engine.Roles.Write(t.Context(), model.RoleWrite{Name: "ci", Access: model.AccessWrite{EnvironmentRoles: to(environmentRoles{"staging": modalapi.RoleContributor})}})
	require.ErrorContains(t, err, "the role was not changed")
	require.Equal(t, map[string]string{"main": "viewer", "staging": "viewer"}, h.rolesOf(id))
}

func TestVerify_RemovesExcessRolesAndGrantsNoMoreThanTheLimits(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		role     environmentRoles
		ceilings model.ConfigWrite
		added    map[string]string // roles that somebody added at Modal
		healed   map[string]string
	}{
		"an environment that the role does not have": {
			role: contributor, ceilings: model.ConfigWrite{MaxEnvironmentRole: to(modalapi.RoleViewer)},
			added: map[string]string{"staging": "contributor"}, healed: map[string]string{"main": "viewer", "staging": "no-access"},
		},
		"more than the role, and a lowered limit": {
			role:     environmentRoles{"main": modalapi.RoleViewer, "staging": modalapi.RoleViewer},
			ceilings: model.ConfigWrite{AllowedEnvironments: to([]string{"main"})},
			added:    map[string]string{"main": "contributor"}, healed: map[string]string{"main": "viewer", "staging": "no-access"},
		},
		"less than the role, and a limit below the role": {
			role: contributor, ceilings: model.ConfigWrite{MaxEnvironmentRole: to(modalapi.RoleViewer)},
			added: map[string]string{"main": "no-access"}, healed: map[string]string{"main": "viewer"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.write(managedRole("ci", test.role))
			h.configure(test.ceilings)
			for environment, role := range test.added {
				h.workspace.SetServiceUserRole(h.current("ci").Identity, environment, role)
			}
			require.True(t, h.verify("ci").RolesDiffer)
			h.minutes(2)
			require.Equal(t, test.healed, h.rolesOf(h.current("ci").ID))
			sets := len(h.modal.Calls("EnvironmentRoleSet"))
			h.minutes(3 * 60)
			require.Len(t, h.modal.Calls("EnvironmentRoleSet"), sets, "the engine must not repeat roles that the limits do not allow")
			h.configure(model.ConfigWrite{MaxEnvironmentRole: model.Change[modalapi.EnvironmentRole]{Set: true, Reset: true}, AllowedEnvironments: model.Change[[]string]{Set: true, Reset: true}})
			h.minutes(11)
			require.False(t, h.verify("ci").RolesDiffer, "once the limits allow the role's environment roles, the engine must set them")
		})
	}
}

func TestVerify_RemovesExcessRolesFromPreviousTokens(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", viewer))
	old := h.current("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	for _, user := range []string{old.Identity, h.current("ci").Identity} {
		h.workspace.SetServiceUserRole(user, "main", "contributor")
		h.workspace.SetServiceUserRole(user, "staging", "viewer")
	}
	require.True(t, h.verify("ci").RolesDiffer)
	h.minutes(1)
	for _, id := range []string{old.ID, h.current("ci").ID} {
		require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, h.rolesOf(id))
	}
}

func TestVerify_NarrowsAPreviousTokenThatAWriteCouldNotNarrow(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", contributor))
	old := h.current("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	sets := 0
	h.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Match: func(modaltest.Call) bool { sets++; return sets == 2 }})
	require.Contains(t, h.granting("ci", viewer)[0], "the previous token "+old.ID+" keeps its old environment roles")
	require.Equal(t, "contributor", h.rolesOf(old.ID)["main"])

	require.False(t, h.verify("ci").RolesDiffer, "the current token has the rights of the role")
	h.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied})
	h.minutes(1)
	require.Equal(t, "contributor", h.rolesOf(old.ID)["main"])
	h.hours(1)

	require.Equal(t, "viewer", h.rolesOf(old.ID)["main"], "neither an answer about the current token nor a failure ends the attempts")
}

func TestVerify_NarrowsPreviousTokensAlsoAfterARotation(t *testing.T) {
	t.Parallel()
	h := afterLostWrite(t)
	old := h.current("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	h.minutes(2)
	require.Equal(t, "viewer", h.rolesOf(old.ID)["main"])
}

func TestUndo_SetsTheCurrentRightsAlthoughModalReportsThem(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", viewer))
	old := h.current("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	h.workspace.SetServiceUserRole(old.Identity, "main", "contributor")
	h.stale(pbViewer, "viewer", -1)
	h.rotate(model.RotateRequest{Role: "ci", ToPrevious: true})
	require.Equal(t, old.ID, h.current("ci").ID)
	require.Equal(t, map[string]string{"main": "viewer"}, h.rolesOf(old.ID))
}

func TestUndo_RightsThatModalDoesNotShowWarnAndAreSetAgain(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", viewer))
	h.rotate(model.RotateRequest{Role: "ci"})
	h.stale(pbContributor, "contributor", -1)
	done, err := h.engine.Rotations.Rotate(t.Context(), model.RotateRequest{Role: "ci", ToPrevious: true})
	require.NoError(t, err)
	require.Contains(t, done.Warnings[0], "Modal still reports main=contributor")
	require.True(t, h.current("ci").RolesDiffer)
	h.modal.ClearFaults()
	h.minutes(2)
	require.False(t, h.current("ci").RolesDiffer)
}

func TestVerify_AnUnansweredSetOfRolesIsTriedAgain(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", viewer))
	h.workspace.SetServiceUserRole(h.current("ci").Identity, "main", "contributor")
	require.True(t, h.verify("ci").RolesDiffer)
	h.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
	h.minutes(20)
	h.modal.ClearFaults()
	h.minutes(11)
	require.Equal(t, map[string]string{"main": "viewer"}, h.rolesOf(h.current("ci").ID))
	require.WithinDuration(t, h.clock(), h.current("ci").LastChecked, 12*time.Minute)
}

func TestVerify_SetsTheRolesOfALostWriteAlthoughModalReportsThem(t *testing.T) {
	t.Parallel()
	h := afterLostWrite(t)
	h.stale(pbViewer, "viewer", -1)

	h.minutes(2)

	require.Equal(t, map[string]string{"main": "viewer"}, h.rolesOf(h.current("ci").ID))
}
