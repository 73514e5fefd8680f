// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

func (h *harness) state(name string) string {
	h.t.Helper()
	r, _, err := h.engine.Mount.RotationWithPrevious(h.t.Context(), name)
	require.NoError(h.t, err)
	return r.State()
}

func (h *harness) verify(name string) *model.Verification {
	h.t.Helper()
	v, err := h.engine.Verifier.Verify(h.t.Context(), name)
	require.NoError(h.t, err)
	return v
}

// deleteUserOf deletes a role's service user as a person may do at Modal.
func (h *harness) deleteUserOf(id string) { require.True(h.t, h.modal.DeleteToken(id)) }

func TestVerify_ARejectionIsAnAnswerAndTheWorkerRotatesAManagedRole(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	v := h.verify("ci")
	require.True(t, v.Accepted)
	require.Equal(t, map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor}, v.Roles)
	h.deleteUserOf(old)

	v = h.verify("ci")

	require.False(t, v.Accepted)
	require.Equal(t, "Token not found", v.Reason)
	require.Equal(t, model.StateRejected, h.state("ci"))
	require.Contains(t, h.recorded.events(), model.EventTokenRejected)
	h.minutes(1)
	require.Equal(t, model.StateOK, h.state("ci"))
	require.Equal(t, 2, h.current("ci").Version)
	require.True(t, h.verify("ci").Accepted)
}

func TestVerify_ARejectedStaticTokenIsShownUntilItIsReplacedOrWorks(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token := h.static("ci")
	h.modal.SetDisabled(token.ID, true)
	require.False(t, h.verify("ci").Accepted)
	answer, err := h.engine.Rotations.Credentials(t.Context(), "ci")
	require.NoError(t, err)
	require.Contains(t, answer.Warnings(h.clock())[0], "Modal has rejected token "+token.ID)
	require.Equal(t, token.Secret, answer.Cred.Secret, "a read must still return a rejected token")
	status, err := h.engine.Statuses.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, status.Roles[model.StateRejected])
	h.modal.SetDisabled(token.ID, false)
	h.minutes(61)
	require.Equal(t, model.StateOK, h.state("ci"), "the engine must ask about a rejected token each hour")
	h.modal.DeleteToken(token.ID)
	h.verify("ci")
	h.rotate(model.RotateRequest{Role: "ci", Supplied: bringing(h.member.NewToken())})
	require.Equal(t, model.StateOK, h.state("ci"))
}

func TestVerify_HappensOncePerIntervalSpreadOutAndNeverIfOff(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		h.static(name)
	}
	asked := func() int { return len(h.modal.Calls("TokenInfoGet")) }
	before := asked()
	h.minutes(17 * 60)
	require.Equal(t, before, asked(), "no verification may come in the first three quarters of the interval")
	for range 7*60 + 1 {
		already := asked()
		h.minutes(1)
		require.LessOrEqual(t, asked(), already+1, "verifications must spread out")
	}
	require.Equal(t, before+5, asked(), "each role and the admin token must be verified once")
	h.configure(model.ConfigWrite{VerificationInterval: to(time.Duration(0))})
	h.minutes(3 * 24 * 60)
	require.Equal(t, before+5, asked())
	h.configure(model.ConfigWrite{VerificationInterval: to(10 * time.Minute)})
	h.minutes(1)
	require.Equal(t, before+10, asked())
}

func TestVerify_ADeletedServiceUserIsReplacedUnlessRotationIsDisabled(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	ask := managedRole("kept", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer})
	ask.Managed.Disabled = to(true)
	h.write(ask)
	h.configure(model.ConfigWrite{VerificationInterval: to(time.Hour)})
	h.deleteUserOf(old)
	h.deleteUserOf(h.current("kept").ID)
	h.minutes(63)
	require.Equal(t, 2, h.current("ci").Version)
	require.Equal(t, model.StateOK, h.state("ci"))
	require.Equal(t, 1, h.current("kept").Version)
	require.Equal(t, model.StateRejected, h.state("kept"))
}

// withNoAccess adds no-access for an environment that Modal may name or leave out.
func withNoAccess(roles map[string]string, environment string) map[string]string {
	if roles[environment] == "" {
		roles[environment] = "no-access"
	}
	return roles
}

func TestVerify_ARejectedAdminTokenShowsInConfigAndStatus(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	cfg, err := h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	h.modal.DeleteToken(cfg.Admin.ID)
	h.hours(25)
	status, err := h.engine.Statuses.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, model.AdminRejected, status.Admin)
	require.Equal(t, 1, count(h.recorded.events(), model.EventTokenRejected))
	h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken())})
	cfg, err = h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, model.AdminOK, cfg.State(h.clock()))
}

func TestVerify_AnEnabledAdminTokenIsAcceptedWithinTheHour(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	cfg, err := h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	h.modal.SetDisabled(cfg.Admin.ID, true)
	h.hours(24)
	cfg, err = h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, model.AdminRejected, cfg.State(h.clock()), "the engine must verify the admin token within the interval")
	h.modal.SetDisabled(cfg.Admin.ID, false)
	h.minutes(60)
	cfg, err = h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, model.AdminOK, cfg.State(h.clock()))
}

func count[T comparable](all []T, one T) (n int) {
	for _, item := range all {
		if item == one {
			n++
		}
	}
	return n
}

func TestVerify_WithoutAnAnswerOfModalTheTokenKeepsItsState(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	h.configure(model.ConfigWrite{VerificationInterval: to(model.MinVerification)})
	h.modal.SetOutage(true)
	_, err := h.engine.Verifier.Verify(t.Context(), "ci")
	require.ErrorContains(t, err, "could not find out whether Modal accepts")
	h.minutes(12)
	require.Equal(t, model.StateOK, h.state("ci"))
	require.NotContains(t, h.recorded.events(), model.EventTokenRejected)
	h.modal.SetOutage(false)
	h.minutes(11)
	require.False(t, h.current("ci").LastChecked.IsZero())
}

func TestVerify_ARoleWithoutATokenIsRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	h.write(model.RoleWrite{Name: "empty", Type: to(model.TypeStatic)})
	for name, why := range map[string]string{"none": "no role is named none", "job": "is dynamic", "empty": "no token yet"} {
		_, err := h.engine.Verifier.Verify(t.Context(), name)
		require.ErrorContains(t, err, why)
		require.True(t, model.IsUserError(err))
	}
}

func TestVerify_ARejectionSeenByAClockFarAheadIsRepairedLater(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.managed("other")
	h.advance(40 * model.Day)
	h.deleteUserOf(old)
	require.False(t, h.verify("ci").Accepted)
	require.True(t, h.verify("other").Accepted)
	h.advance(-40 * model.Day)
	h.minutes(2)
	require.Equal(t, 2, h.current("ci").Version)
	require.True(t, h.current("other").LastChecked.Before(h.clock().Add(model.Day)), "the engine must ask about the token again")
}

func TestVerify_ATickWithoutTimeLeavesTheWorkToTheNext(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	h.advance(model.Day)
	over, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, h.engine.Verifier.verifyDue(t.Context(), over))
	require.True(t, h.current("ci").LastChecked.IsZero())
	h.tick()
	require.False(t, h.current("ci").LastChecked.IsZero())
}

func TestVerify_AFailureUnderAClockFarAheadIsRetriedInTime(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	user := h.current("ci").Identity
	h.workspace.SetServiceUserRole(user, "main", "viewer")
	h.modal.Inject("EnvironmentRoleSet", modaltest.Fault{Code: codes.PermissionDenied, Times: -1})
	h.ahead.Store(int64(40 * model.Day))
	h.minutes(10)
	h.modal.ClearFaults()
	h.ahead.Store(0)

	h.minutes(26 * 60)

	require.Equal(t, map[string]string{"main": "contributor"}, h.rolesOf(h.current("ci").ID))
}

func TestVerify_NoRoleNameDelaysTheAdminTokensCheck(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token := h.static(state.KeyConfig)
	h.configure(model.ConfigWrite{VerificationInterval: to(model.MinVerification)})
	h.modal.Inject("TokenInfoGet", modaltest.Fault{Code: codes.Unavailable, Times: -1, Match: func(c modaltest.Call) bool { return c.TokenID == token.ID }})
	for range 60 {
		h.minutes(1)
		cfg, err := h.engine.Configs.Read(t.Context())
		require.NoError(t, err)
		require.LessOrEqual(t, h.clock().Sub(model.Later(cfg.AdminChecked, cfg.Admin.LastVerified)), model.MinVerification)
	}
	h.modal.ClearFaults()
}

func TestRevocation_ThePreviousTokenIsKeptWhileTheCurrentIsUncertain(t *testing.T) {
	t.Parallel()
	for _, code := range []codes.Code{codes.Unavailable, codes.ResourceExhausted} {
		t.Run(code.String(), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
			ask.Managed.Disabled, ask.GracePeriod = to(true), to(time.Hour)
			h.write(ask)
			old := h.current("ci").Token
			h.rotate(model.RotateRequest{Role: "ci"})
			current := h.current("ci").ID
			h.deleteUserOf(current)
			h.modal.Inject("TokenInfoGet", modaltest.Fault{Code: code, Times: -1, Match: func(c modaltest.Call) bool { return c.TokenID == current }})
			h.minutes(70)
			require.True(t, h.alive(old.ID), "the previous token may be the only token that works")
			require.Contains(t, h.revocation(old.ID).LastError, "could not find out whether Modal accepts")
			h.modal.ClearFaults()
			h.rotate(model.RotateRequest{Role: "ci"})
			h.minutes(70)
			require.False(t, h.alive(old.ID))
		})
	}
}
