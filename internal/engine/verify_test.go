// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
)

func (h *harness) state(name string) string {
	h.t.Helper()
	r, _, err := h.engine.Rotation(h.t.Context(), name)
	require.NoError(h.t, err)
	return r.State()
}

func (h *harness) verify(name string) *Verification {
	h.t.Helper()
	v, err := h.engine.Verify(h.t.Context(), name)
	require.NoError(h.t, err)
	return v
}

// deleteUserOf deletes a role's service user by hand, as somebody may at Modal.
func (h *harness) deleteUserOf(id string) { require.True(h.t, h.modal.DeleteToken(id)) }

func TestVerify_ARefusalIsAnAnswerAndTheWorkerHealsAManagedRole(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	v := h.verify("ci")
	require.True(t, v.Accepted)
	require.Equal(t, map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor}, v.Roles)
	h.deleteUserOf(old)

	v = h.verify("ci")

	require.False(t, v.Accepted)
	require.Equal(t, "Token not found", v.Said)
	require.Equal(t, StateRefused, h.state("ci"))
	require.Contains(t, h.told.events(), EventTokenRefused)
	h.minutes(1)
	require.Equal(t, StateOK, h.state("ci"))
	require.Equal(t, 2, h.current("ci").Version)
	require.True(t, h.verify("ci").Accepted)
}

func TestVerify_ARefusedStaticTokenIsShownAndWarnedOfUntilAnotherComesOrItWorksAgain(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token := h.static("ci")
	h.modal.SetDisabled(token.ID, true)
	require.False(t, h.verify("ci").Accepted)
	handout, err := h.engine.Handout(t.Context(), "ci")
	require.NoError(t, err)
	require.Contains(t, handout.Warnings(h.clock())[0], "Modal refuses token "+token.ID)
	require.Equal(t, token.Secret, handout.Cred.Secret, "it is handed out all the same")
	status, err := h.engine.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, 1, status.Roles[StateRefused])
	h.modal.SetDisabled(token.ID, false)
	h.minutes(61)
	require.Equal(t, StateOK, h.state("ci"), "a refused token is asked about each hour")
	h.modal.DeleteToken(token.ID)
	h.verify("ci")
	h.rotate(RotateRequest{Role: "ci", Supplied: bringing(h.member.NewToken())})
	require.Equal(t, StateOK, h.state("ci"))
}

func TestVerify_HappensOncePerIntervalSpreadOutAndNotAtAllWhereItIsOff(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		h.static(name)
	}
	asked := func() int { return len(h.modal.Calls("TokenInfoGet")) }
	before := asked()
	h.minutes(17 * 60)
	require.Equal(t, before, asked(), "not in the first three quarters")
	h.minutes(7*60 + 1)
	require.Equal(t, before+5, asked(), "each role and the admin token once")
	h.configure(ConfigWrite{VerificationInterval: to(time.Duration(0))})
	h.minutes(3 * 24 * 60)
	require.Equal(t, before+5, asked())
	h.configure(ConfigWrite{VerificationInterval: to(10 * time.Minute)})
	h.minutes(1)
	require.Equal(t, before+10, asked())
}

func TestVerify_AServiceUserDeletedByHandIsReplacedWithinTheIntervalUnlessRotationIsDisabled(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	ask := managedRole("kept", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer})
	ask.Managed.Disabled = to(true)
	h.write(ask)
	h.configure(ConfigWrite{VerificationInterval: to(time.Hour)})
	h.deleteUserOf(old)
	h.deleteUserOf(h.current("kept").ID)
	h.minutes(63)
	require.Equal(t, 2, h.current("ci").Version)
	require.Equal(t, StateOK, h.state("ci"))
	require.Equal(t, 1, h.current("kept").Version)
	require.Equal(t, StateRefused, h.state("kept"))
}

func TestVerify_DriftedEnvironmentRolesAreSetAgainAndLogged(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	id := h.managed("ci")
	h.configure(ConfigWrite{VerificationInterval: to(time.Hour)})
	user := h.current("ci").Identity
	h.workspace.SetServiceUserRole(user, "staging", "contributor")
	h.workspace.SetServiceUserRole(user, "main", "viewer")
	v := h.verify("ci")
	require.True(t, v.Accepted)
	require.True(t, v.Drifted)
	h.minutes(1)
	require.Equal(t, map[string]string{"main": "contributor", "staging": "no-access"}, withNoAccess(h.rolesOf(id), "staging"))
	require.Contains(t, h.told.lines(), "environment roles had drifted and were set again")
	require.False(t, h.verify("ci").Drifted)
	h.workspace.SetServiceUserRole(user, "main", "viewer")
	h.minutes(61)
	require.Equal(t, "contributor", h.rolesOf(id)["main"], "without anybody asking")
}

// withNoAccess names an environment that Modal may name or leave out.
func withNoAccess(roles map[string]string, environment string) map[string]string {
	if roles[environment] == "" {
		roles[environment] = "no-access"
	}
	return roles
}

func TestVerify_ARefusedAdminTokenShowsInConfigAndStatus(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	cfg, err := h.engine.Config(t.Context())
	require.NoError(t, err)
	h.modal.DeleteToken(cfg.Admin.ID)
	h.minutes(24*60 + 1)
	status, err := h.engine.Status(t.Context())
	require.NoError(t, err)
	require.Equal(t, AdminRefused, status.Admin)
	require.Equal(t, 1, count(h.told.events(), EventTokenRefused))
	h.configure(ConfigWrite{Supplied: bringing(h.member.NewToken())})
	cfg, err = h.engine.Config(t.Context())
	require.NoError(t, err)
	require.Equal(t, AdminOK, cfg.State(h.clock()))
}

func count[T comparable](all []T, one T) (n int) {
	for _, item := range all {
		if item == one {
			n++
		}
	}
	return n
}

func TestVerify_ThatModalDoesNotAnswerIsNoNewsOfTheToken(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	h.configure(ConfigWrite{VerificationInterval: to(time.Hour)})
	h.modal.SetOutage(true)
	_, err := h.engine.Verify(t.Context(), "ci")
	require.ErrorContains(t, err, "could not learn whether Modal accepts")
	h.minutes(70)
	require.Equal(t, StateOK, h.state("ci"))
	require.NotContains(t, h.told.events(), EventTokenRefused)
	h.modal.SetOutage(false)
	h.minutes(11)
	require.False(t, h.current("ci").Checked.IsZero())
}

func TestVerify_OfWhatHasNoTokenOfItsOwnIsRefused(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job")
	h.write(RoleWrite{Name: "empty", Kind: to(TypeStatic)})
	for name, why := range map[string]string{"none": "no role is named none", "job": "is dynamic", "empty": "no token yet"} {
		_, err := h.engine.Verify(t.Context(), name)
		require.ErrorContains(t, err, why)
		require.True(t, IsMistake(err))
	}
}

func TestHold_APreviousTokenLivesOnWhileItIsUsedAndNoLonger(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		use   time.Duration // how long after its grace period somebody uses it
		lives time.Duration
	}{
		"not for a while":     {-20 * time.Minute, 0},
		"used for a while":    {30 * time.Minute, 30 * time.Minute},
		"used for far longer": {10 * time.Hour, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
			ask.Managed.Hold, ask.GracePeriod = to(2*time.Hour), to(time.Hour)
			h.write(ask)
			old := h.current("ci").Token
			h.advance(time.Minute)
			h.rotate(RotateRequest{Role: "ci"})
			client, err := modalapi.New(modalapi.Options{ServerURL: h.modal.URL()})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close() })
			held := false
			for past := time.Minute; past < 4*time.Hour; past += time.Minute {
				h.minutes(1)
				if past < time.Hour+test.use {
					if _, err = client.WhoAmI(t.Context(), old.pair()); err != nil && test.lives >= test.use {
						require.NoError(t, err, past)
					}
				}
				if entry := h.entry(old.ID); entry != nil && entry.State(h.clock()) == StateHeld {
					held = true
					require.Contains(t, entry.NextStep(h.clock()), "was used at")
					require.Zero(t, entry.Attempts)
				}
				if !h.alive(old.ID) {
					require.InDelta(t, (time.Hour + test.lives).Minutes(), past.Minutes(), 17)
					break
				}
			}
			require.False(t, h.alive(old.ID))
			require.Equal(t, test.lives > 0, held)
		})
	}
}

func TestOrphans_StopTheEngineFromEndingAnythingUntilAnOperatorSaysWhatToDo(t *testing.T) {
	t.Parallel()
	for _, accept := range []bool{false, true} {
		h := newHarness(t)
		old := h.managed("ci")
		h.rotate(RotateRequest{Role: "ci"})
		member := h.static("personal")
		h.rotate(RotateRequest{Role: "personal", Supplied: bringing(h.member.NewToken())})
		h.dynamic("job")
		lease := h.lease("job")
		stranger, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
		require.NoError(t, err)
		foreign, err := h.workspace.CreateServiceUser("vault-99999999-gpu-aaaaaaaa")
		require.NoError(t, err)
		h.minutes(25 * 60)

		require.True(t, h.alive(old))
		require.True(t, h.accepts(member))
		require.ErrorContains(t, h.engine.EndLease(t.Context(), lease.Entry), "the mount is diverged")
		require.Equal(t, 1, count(h.told.events(), EventDiverged))
		status, err := h.engine.Status(t.Context())
		require.NoError(t, err)
		require.True(t, status.Diverged)
		orphans, err := h.engine.Orphans(t.Context())
		require.NoError(t, err)
		require.Len(t, orphans, 1)
		before := h.snapshot()
		dry, err := h.engine.Tidy(t.Context(), TidyRequest{DryRun: true})
		require.NoError(t, err)
		require.Equal(t, []string{"vault-2f9f1a7c-gpu-aaaaaaaa"}, dry.Chosen)
		h.unchangedSince(before)
		_, err = h.engine.Tidy(t.Context(), TidyRequest{Names: []string{"vault-99999999-gpu-aaaaaaaa"}})
		require.ErrorContains(t, err, "is no orphan of this mount")

		done, err := h.engine.Tidy(t.Context(), TidyRequest{Accept: accept})
		require.NoError(t, err)

		require.False(t, done.Diverged)
		require.Equal(t, accept, h.accepts(stranger))
		h.minutes(6*60 + 2)
		require.False(t, h.alive(old))
		require.False(t, h.accepts(member))
		require.False(t, h.alive(lease.Cred.ID))
		require.True(t, h.accepts(foreign), "another mount's")
		if accept {
			h.modal.DeleteToken(stranger.ID) // else the harness takes it for a leak
		}
		h.modal.DeleteToken(foreign.ID)
	}
}

func TestOrphans_AreNotSeenInWhatIsBeingMadeAndNothingEndsWhileTheListIsNotAnswered(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.rotate(RotateRequest{Role: "ci"})
	young, err := h.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
	require.NoError(t, err)
	h.minutes(5)
	orphans, err := h.engine.Orphans(t.Context())
	require.NoError(t, err)
	require.Empty(t, orphans, "it is younger than ten minutes")
	h.modal.DeleteToken(young.ID)
	h.modal.Inject("ServiceUserList", modaltest.Fault{Code: 14, Times: -1})
	h.minutes(25 * 60)
	require.True(t, h.alive(old))
	require.Contains(t, h.entry(old).LastError, "does not list the service users")
	h.modal.ClearFaults()
	h.minutes(6*60 + 1)
	require.False(t, h.alive(old))
}

func TestOrphans_WhatAnOperatorForgetsByForceIsAccepted(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	old := h.current("ci")
	h.rotate(RotateRequest{Role: "ci"})
	h.forget(old.ID)
	h.managed("other")
	h.rotate(RotateRequest{Role: "other"})
	h.minutes(25 * 60)
	require.NotContains(t, h.told.events(), EventDiverged)
	require.True(t, h.alive(old.ID))
	orphans, err := h.engine.Orphans(t.Context())
	require.NoError(t, err)
	require.True(t, slices.ContainsFunc(orphans, func(o Orphan) bool { return o.Name == old.Identity && o.Accepted }))
	_, err = h.engine.Tidy(t.Context(), TidyRequest{Names: []string{old.Identity}})
	require.NoError(t, err)
	require.False(t, h.alive(old.ID), "by its name it is ended all the same")
}
