// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// rotatedWithHold creates role ci, which keeps a previous token while it is used, and rotates it. It returns the previous
// token.
func (h *harness) rotatedWithHold(hold time.Duration) model.Token {
	h.t.Helper()
	ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
	ask.GracePeriod, ask.Managed.Hold = to(time.Hour), to(hold)
	h.write(ask)
	old := h.current("ci").Token
	h.advance(time.Minute)
	h.rotate(model.RotateRequest{Role: "ci"})
	return old
}

func TestInUse_APreviousTokenStaysValidOnlyWhileItIsUsed(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		use   time.Duration // how long after its grace period the token is still used
		lives time.Duration
	}{
		"last used before the end of the grace period": {-20 * time.Minute, 0},
		"used for less than the limit":                 {30 * time.Minute, 30 * time.Minute},
		"used for longer than the limit":               {10 * time.Hour, 2 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
			ask.Managed.Hold, ask.GracePeriod = to(2*time.Hour), to(time.Hour)
			h.write(ask)
			old := h.current("ci").Token
			h.advance(time.Minute)
			h.rotate(model.RotateRequest{Role: "ci"})
			client, err := modalapi.New(modalapi.Options{ServerURL: h.modal.URL()})
			require.NoError(t, err)
			t.Cleanup(func() { _ = client.Close() })
			inUse := false
			for past := time.Minute; past < 4*time.Hour; past += time.Minute {
				h.minutes(1)
				if past < time.Hour+test.use {
					if _, err = client.WhoAmI(t.Context(), old.APIToken()); err != nil && test.lives >= test.use {
						require.NoError(t, err, past)
					}
				}
				if entry := h.revocation(old.ID); entry != nil && entry.State(h.clock()) == model.StateInUse {
					inUse = true
					require.Contains(t, h.engine.Revoker.NextStep(t.Context(), entry), "was last used at")
					require.Zero(t, entry.Attempts)
				}
				if !h.alive(old.ID) {
					require.InDelta(t, (time.Hour + test.lives).Minutes(), past.Minutes(), 17)
					break
				}
			}
			require.False(t, h.alive(old.ID))
			require.Equal(t, test.lives > 0, inUse)
		})
	}
}

func TestInUse_ModalIsAskedOncePerRefreshInterval(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
	ask.RefreshInterval, ask.GracePeriod, ask.Managed.Hold = to(12*time.Hour), to(time.Hour), to(10*model.Day)
	h.write(ask)
	h.configure(model.ConfigWrite{VerificationInterval: to(time.Duration(0))})
	old := h.current("ci").Token
	h.rotate(model.RotateRequest{Role: "ci"})
	h.advance(time.Minute)
	require.True(t, h.modal.Use(old.ID, old.Secret))
	h.minutes(60)
	require.Equal(t, model.StateInUse, h.revocation(old.ID).State(h.clock()))
	asked := len(h.modal.Calls("ServiceUserInfo"))

	h.minutes(12 * 60)

	require.Equal(t, asked+1, len(h.modal.Calls("ServiceUserInfo")))
	require.Equal(t, model.StateInUse, h.revocation(old.ID).State(h.clock()))
}

func TestInUse_EndsInTimeAlsoIfAClockFarAheadDatedIt(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
	ask.Managed.Hold, ask.GracePeriod = to(2*time.Hour), to(time.Hour)
	h.write(ask)
	old := h.current("ci").Token
	h.advance(time.Minute)
	h.rotate(model.RotateRequest{Role: "ci"})
	wrong := *h.revocation(old.ID)
	for _, at := range []*time.Time{&wrong.Since, &wrong.NotBefore, &wrong.NextAttempt, &wrong.HoldUntil} {
		*at = at.Add(40 * model.Day)
	}
	require.NoError(t, h.engine.Mount.Revocations.Put(t.Context(), old.ID, &wrong))

	for range 4 * 60 {
		h.minutes(1)
		h.modal.Use(old.ID, old.Secret)
	}

	require.False(t, h.alive(old.ID))
}

func TestInUse_TheEnginesOwnCallsDoNotCount(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
	ask.RefreshInterval, ask.GracePeriod, ask.Managed.Hold = to(12*time.Hour), to(time.Hour), to(10*model.Day)
	h.write(ask)
	h.configure(model.ConfigWrite{VerificationInterval: to(time.Duration(0))})
	old := h.current("ci").Token
	h.advance(time.Minute)
	h.rotate(model.RotateRequest{Role: "ci"})
	h.configure(model.ConfigWrite{RemoveAdmin: true})
	h.minutes(65)
	require.NotZero(t, h.revocation(old.ID).Attempts)
	h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken())})
	h.minutes(20)
	require.False(t, h.alive(old.ID))
}

func TestInUse_ATokenThatCannotBeDeletedAfterwardsIsRetrying(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.rotatedWithHold(30 * time.Minute)
	for range 70 {
		h.minutes(1)
		h.modal.Use(old.ID, old.Secret)
	}
	require.Equal(t, model.StateInUse, h.revocation(old.ID).State(h.clock()))
	h.modal.Inject("ServiceUserDelete", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	h.minutes(40)
	require.Equal(t, model.StateRetrying, h.revocation(old.ID).State(h.clock()))
	h.modal.ClearFaults()
}

func TestInUse_TheEnginesOwnCallsDoNotHideAUse(t *testing.T) {
	t.Parallel()
	for name, asks := range map[string]func(h *harness, id string){
		"a forget without force": func(h *harness, id string) {
			_, err := h.engine.Revocations.Remove(h.t.Context(), id, false)
			require.ErrorContains(h.t, err, "still accepts")
		},
		"a lookup": func(h *harness, id string) {
			found, err := h.engine.Lookups.Find(h.t.Context(), LookupRequest{TokenID: id})
			require.NoError(h.t, err)
			require.Equal(h.t, LookupPrevious, found.Kind)
		},
		"a plan": func(h *harness, _ string) {
			_, err := h.engine.Rotations.Plan(h.t.Context(), model.RotateRequest{Role: "ci", ToPrevious: true})
			require.NoError(h.t, err)
		},
		"an attempt without an admin token": func(h *harness, _ string) {
			h.configure(model.ConfigWrite{RemoveAdmin: true})
			h.minutes(12)
			h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken())})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
			ask.RefreshInterval, ask.GracePeriod, ask.Managed.Hold = to(time.Hour), to(time.Hour), to(10*model.Day)
			h.write(ask)
			h.configure(model.ConfigWrite{VerificationInterval: to(time.Duration(0))})
			old := h.current("ci").Token
			h.advance(time.Minute)
			h.rotate(model.RotateRequest{Role: "ci"})
			before := h.modal.CallCount()
			h.minutes(55)
			require.True(t, h.modal.Use(old.ID, old.Secret))
			h.advance(time.Minute)
			asks(h, old.ID)

			h.minutes(40)
			require.True(t, h.alive(old.ID), "a token used less than two refresh intervals ago must stay")
			for _, call := range h.modal.CallsFrom(before) {
				require.NotEqual(t, old.ID, call.TokenID, "the engine must not use the token itself: %s", call.Method)
			}
			h.minutes(3 * 60)
			require.False(t, h.alive(old.ID))
		})
	}
}

func TestInUse_EndsAtTheLimitWithALongRefreshInterval(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ask := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor})
	ask.RefreshInterval, ask.GracePeriod, ask.Managed.Hold = to(12*time.Hour), to(time.Hour), to(2*time.Hour)
	h.write(ask)
	old := h.current("ci").Token
	h.advance(time.Minute)
	h.rotate(model.RotateRequest{Role: "ci"})

	for range 3*60 + 5 {
		h.modal.Use(old.ID, old.Secret)
		h.minutes(1)
	}

	require.False(t, h.alive(old.ID), "the token may live for its grace period and hold_while_used, three hours in all")
}

func TestInUse_AnOperatorsForceEndsATokenThatIsStillUsed(t *testing.T) {
	t.Parallel()
	for name, force := range map[string]func(h *harness, id string){
		"the revocation": func(h *harness, id string) {
			ended, err := h.engine.Revocations.End(h.t.Context(), id, true)
			require.NoError(h.t, err)
			require.True(h.t, ended.Revoked)
		},
		"the role": func(h *harness, _ string) {
			_, err := h.engine.Roles.Delete(h.t.Context(), "ci", true)
			require.NoError(h.t, err)
		},
		"the role, during an outage": func(h *harness, _ string) {
			h.modal.SetOutage(true)
			_, err := h.engine.Roles.Delete(h.t.Context(), "ci", true)
			require.NoError(h.t, err)
			h.modal.SetOutage(false)
			h.minutes(5)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			old := h.rotatedWithHold(10 * model.Day)
			for range 65 {
				h.minutes(1)
				require.True(t, h.modal.Use(old.ID, old.Secret))
			}
			require.Equal(t, model.StateInUse, h.revocation(old.ID).State(h.clock()))

			force(h, old.ID)

			require.False(t, h.alive(old.ID))
		})
	}
}

func TestInUse_AWrongClockOfTheNodeHidesNoUse(t *testing.T) {
	t.Parallel()
	for name, ahead := range map[string]time.Duration{"ahead": 3 * time.Hour, "behind": -3 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.ahead.Store(int64(ahead))
			old := h.rotatedWithHold(10 * model.Day)
			for range 2 * 60 {
				h.minutes(1)
				require.True(t, h.modal.Use(old.ID, old.Secret), "a token that is used must stay")
			}
			h.minutes(30)
			require.False(t, h.alive(old.ID), "nobody uses the token any more")
		})
	}
}
