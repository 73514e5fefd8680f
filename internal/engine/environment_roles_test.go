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

// granting writes the environment roles of a managed role, and returns the warnings.
func (h *harness) granting(name string, roles environmentRoles) []string {
	h.t.Helper()
	done, err := h.engine.Roles.Write(h.t.Context(), model.RoleWrite{Name: name, Access: model.AccessWrite{EnvironmentRoles: to(roles)}})
	require.NoError(h.t, err)
	return done.Warnings
}

// stale has Modal answer so often that service users have one role in main, whatever role they have.
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

func TestEnvironmentRoles_ANarrowingIsSetThoughModalReportsThatItIsDone(t *testing.T) {
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

func TestEnvironmentRoles_AWriteThatModalDoesNotShowIsToldAndSetAgain(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", contributor))
	h.stale(pbContributor, "contributor", -1)
	began := h.clock()

	warnings := h.granting("ci", viewer)

	require.Len(t, warnings, 1)
	require.Contains(t, warnings[0], "Modal still reports main=contributor")
	require.LessOrEqual(t, h.clock().Sub(began), state.BriefBudget, "the write waits a bounded time")
	h.modal.ClearFaults()
	h.workspace.SetServiceUserRole(h.current("ci").Identity, "main", "contributor") // the write was lost at Modal
	h.minutes(2)
	require.Equal(t, map[string]string{"main": "viewer"}, h.rolesOf(h.current("ci").ID), "without waiting for the next verification")
	require.False(t, h.verify("ci").RolesDiffer)
	sets := len(h.modal.Calls("EnvironmentRoleSet"))
	h.minutes(60)
	require.Len(t, h.modal.Calls("EnvironmentRoleSet"), sets, "once Modal shows it, nothing is set any more")
}

func TestEnvironmentRoles_ALagOfModalsOfAMomentIsNotTold(t *testing.T) {
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
	require.Equal(t, calls+1, h.modal.CallCount(), "a plan of Terraform's writes again what is there")
}

func TestEnvironmentRoles_ARoleThatModalReportsAndNobodyAskedForIsTakenAway(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", contributor))
	h.workspace.SetServiceUserRole(h.current("ci").Identity, "staging", "contributor")
	require.Empty(t, h.granting("ci", viewer))
	require.Equal(t, map[string]string{"main": "viewer", "staging": "no-access"}, h.rolesOf(h.current("ci").ID))
}

func TestEnvironmentRoles_AWriteThatFailsHalfWayPutsBackNoMoreThanTheRoleSays(t *testing.T) {
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

func TestHeal_TakesAwayWhatExceedsAndGivesNoMoreThanTheCeilings(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		role     environmentRoles
		ceilings model.ConfigWrite
		added    map[string]string // at Modal, behind everybody's back
		healed   map[string]string
	}{
		"an environment that the role does not have": {
			role: contributor, ceilings: model.ConfigWrite{MaxEnvironmentRole: to(modalapi.RoleViewer)},
			added: map[string]string{"staging": "contributor"}, healed: map[string]string{"main": "viewer", "staging": "no-access"},
		},
		"more than the role, beside a lowered ceiling": {
			role:     environmentRoles{"main": modalapi.RoleViewer, "staging": modalapi.RoleViewer},
			ceilings: model.ConfigWrite{AllowedEnvironments: to([]string{"main"})},
			added:    map[string]string{"main": "contributor"}, healed: map[string]string{"main": "viewer", "staging": "no-access"},
		},
		"less than the role, which the ceiling does not allow": {
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
			require.Len(t, h.modal.Calls("EnvironmentRoleSet"), sets, "what the ceilings do not allow is not set again and again")
			h.configure(model.ConfigWrite{MaxEnvironmentRole: model.Change[modalapi.EnvironmentRole]{Set: true, Reset: true}, AllowedEnvironments: model.Change[[]string]{Set: true, Reset: true}})
			h.minutes(11)
			require.False(t, h.verify("ci").RolesDiffer, "the role gets back what it says once the ceilings allow that")
		})
	}
}

func TestHeal_TakesFromPreviousTokensWhatTheRoleDoesNotHave(t *testing.T) {
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

func TestHeal_GoesOnWithAPreviousTokenThatAWriteCouldNotNarrow(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", contributor))
	old := h.current("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	sets := 0
	h.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Match: func(modaltest.Call) bool { sets++; return sets == 2 }})
	require.Contains(t, h.granting("ci", viewer)[0], "the previous token "+old.ID+" keeps its old environment roles")
	require.Equal(t, "contributor", h.rolesOf(old.ID)["main"])
	h.minutes(2)
	require.Equal(t, "viewer", h.rolesOf(old.ID)["main"])
}

func TestHeal_GoesOnWithPreviousTokensAfterARotation(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(managedRole("ci", contributor))
	h.stale(pbContributor, "contributor", -1)
	require.NotEmpty(t, h.granting("ci", viewer))
	h.modal.ClearFaults()
	old := h.current("ci")
	h.workspace.SetServiceUserRole(old.Identity, "main", "contributor") // the write was lost at Modal
	h.rotate(model.RotateRequest{Role: "ci"})
	h.minutes(2)
	require.Equal(t, "viewer", h.rolesOf(old.ID)["main"])
}

func TestUndo_GivesThePresentRightsThoughModalReportsThemAlready(t *testing.T) {
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

func TestUndo_WhoseRightsModalDoesNotShowIsToldAndSetAgain(t *testing.T) {
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

func TestHeal_OfARoleWithAnUnansweredSetIsTriedAgain(t *testing.T) {
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
