// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// admin returns the state of the admin token and why it is limited.
func (h *harness) admin() (state, limitation string) {
	h.t.Helper()
	cfg, err := h.engine.Configs.Read(h.t.Context())
	require.NoError(h.t, err)
	return cfg.State(h.engine.Mount.Now()), cfg.Limitation
}

func TestVerifyAdmin_ADemotedAdminIsLimitedUntilItIsPromotedAgain(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]struct {
		demote, promote func(h *harness)
		why             string
	}{
		"a plain member":               {func(h *harness) { h.member.SetRole(modaltest.RoleUser) }, func(h *harness) { h.member.SetRole(modaltest.RoleManager) }, "owners and managers"},
		"a plan without service users": {func(h *harness) { h.workspace.SetServiceUsers(false) }, func(h *harness) { h.workspace.SetServiceUsers(true) }, "plan"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.managed("ci")
			change.demote(h)
			h.hours(25)
			state, why := h.admin()
			require.Equal(t, model.AdminLimited, state)
			require.Contains(t, why, change.why)
			require.Contains(t, h.recorded.lines(), "the admin token cannot manage service users any more")
			require.NotContains(t, h.recorded.events(), model.EventExpiryWarning)
			require.NotContains(t, h.recorded.events(), model.EventTokenRejected)
			_, err := h.engine.Rotations.Rotate(t.Context(), model.RotateRequest{Role: "ci"})
			require.ErrorContains(t, err, "cannot manage service users")
			h.configure(model.ConfigWrite{VerificationInterval: to(time.Duration(0))})
			change.promote(h)
			h.minutes(62)
			state, why = h.admin()
			require.Equal(t, model.AdminOK, state)
			require.Empty(t, why)
			require.Contains(t, h.recorded.lines(), "the admin token can manage service users again")
			h.rotate(model.RotateRequest{Role: "ci"})
		})
	}
}

func TestVerifyAdmin_AnUnknownRoleOfTheAdminIsNoLimitation(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.advance(model.DefaultVerification - 3*time.Minute)
	h.modal.Inject("ServiceUserList", modaltest.Fault{Code: codes.Unavailable, Times: -1})
	h.minutes(6)
	state, _ := h.admin()
	require.Equal(t, model.AdminOK, state)
	h.modal.ClearFaults()
	h.minutes(11)
	cfg, err := h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	require.WithinDuration(t, h.clock(), cfg.AdminChecked, 12*time.Minute)
}

func TestVerifyAdmin_ALimitationThatFollowsARejectionIsLogged(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	cfg, err := h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	h.modal.SetDisabled(cfg.Admin.ID, true)
	h.hours(25)
	state, _ := h.admin()
	require.Equal(t, model.AdminRejected, state)
	h.member.SetRole(modaltest.RoleUser)
	h.modal.SetDisabled(cfg.Admin.ID, false)

	h.minutes(62)

	state, _ = h.admin()
	require.Equal(t, model.AdminLimited, state)
	require.Contains(t, h.recorded.lines(), "the admin token cannot manage service users any more")
}

func TestConfig_TheSameAdminTokenThatBecameLimitedNamesTheRoles(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(h *harness, supplied model.Supplied) ([]string, error){
		"a write of config": func(h *harness, supplied model.Supplied) ([]string, error) {
			done, err := h.engine.Configs.Write(t.Context(), model.ConfigWrite{Supplied: supplied})
			if err != nil {
				return nil, err
			}
			return done.Warnings, nil
		},
		"a rotation of the admin token": func(h *harness, supplied model.Supplied) ([]string, error) {
			done, err := h.engine.Configs.RotateAdmin(t.Context(), model.AdminRotation{Supplied: supplied})
			if err != nil {
				return nil, err
			}
			return done.Warnings, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.managed("ci")
			cfg, err := h.engine.Configs.Read(t.Context())
			require.NoError(t, err)
			h.modal.SetDisabled(cfg.Admin.ID, true)
			h.hours(25)
			h.member.SetRole(modaltest.RoleUser)
			h.modal.SetDisabled(cfg.Admin.ID, false)
			apiToken := cfg.Admin.APIToken()

			warnings, err := again(h, model.Supplied{Token: &apiToken, Verify: true})

			require.NoError(t, err)
			said := strings.Join(warnings, "\n")
			require.Contains(t, said, "cannot manage service users")
			require.Contains(t, said, "these roles keep their current tokens but can no longer rotate")
			require.Contains(t, said, ": ci; ")
		})
	}
}
