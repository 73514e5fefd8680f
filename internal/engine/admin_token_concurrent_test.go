// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/model"
)

// unverified returns a token as an operator supplies it with verify=false.
func unverified(token modaltest.Token) model.Supplied {
	supplied := bringing(token)
	supplied.Verify = false
	return supplied
}

func TestAdminToken_ATokenThatAnOperatorIsRevokingIsRefused(t *testing.T) {
	t.Parallel()
	for name, as := range map[string]struct {
		brings func(modaltest.Token) model.Supplied
		gone   bool // the token is gone when Modal is first asked about it
	}{
		"verified":   {bringing, true},
		"unverified": {unverified, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			robot := h.workspace.AddServiceUser("robot")
			h.write(model.RoleWrite{Name: "ci", Type: to(model.TypeStatic), Supplied: as.brings(robot)})
			h.rotate(model.RotateRequest{Role: "ci", Supplied: bringing(h.workspace.AddServiceUser("robot-2")), Force: true})
			gate := h.gateAt("TokenInfoGet")
			ending := h.begin(t.Context(), h.ending(robot.ID, true))
			gate.await()
			require.Equal(t, as.gone, !h.alive(robot.ID))

			_, err := h.engine.Configs.Write(t.Context(), model.ConfigWrite{Supplied: unverified(robot)})

			require.True(t, model.IsUserError(err), "storage already records that the token must end")
			gate.open()
			ending.succeeds()
			require.False(t, h.alive(robot.ID))
			require.Empty(t, h.queueIDs())
		})
	}
}

func TestAdminToken_ATokenThatBecomesAdminDuringItsRevocationIsKept(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	apiToken := h.current("ci").APIToken()
	grace := time.Duration(0)
	h.rotate(model.RotateRequest{Role: "ci", Grace: &grace})
	gate := h.gateAt("TokenInfoGet") // the engine first checks that the role's current token works
	ending := h.begin(t.Context(), h.ending(old, false))
	gate.await()

	h.configure(model.ConfigWrite{Supplied: bringing(modaltest.Token{ID: apiToken.ID, Secret: apiToken.Secret})})

	gate.open()
	ending.succeeds()
	require.Empty(t, h.modal.Calls("ServiceUserDelete"))
	h.minutes(3)
	require.Nil(t, h.revocation(old), "a token in use must have no revocation")
	require.True(t, h.alive(old))
	h.modal.DeleteToken(old) // only the configuration refers to this token
}

func TestAdminToken_CreatedByThisMountStaysValidForAWhileAfterRemoval(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(h *harness) error{
		"removed": func(h *harness) error {
			_, err := h.engine.Configs.Write(t.Context(), model.ConfigWrite{RemoveAdmin: true})
			return err
		},
		"deleted": func(h *harness) error {
			_, err := h.engine.Configs.Delete(t.Context(), false)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.managed("ci")
			made := h.current("ci")
			h.rotate(model.RotateRequest{Role: "ci"})
			apiToken := made.APIToken()
			h.configure(model.ConfigWrite{Supplied: model.Supplied{Token: &apiToken, Verify: true}})

			require.NoError(t, remove(h))

			require.Equal(t, model.MethodAutomatic, h.revocation(made.ID).Method)
			h.configure(model.ConfigWrite{Supplied: bringing(h.member.NewToken()), ServerURL: to(h.modal.URL())})
			h.minutes(55)
			require.True(t, h.alive(made.ID))
			h.minutes(10)
			require.False(t, h.alive(made.ID))
		})
	}
}

func TestAdminToken_AnUnverifiedSecretDoesNotReplaceAVerifiedOne(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	cfg, err := h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	before := h.snapshot()
	other := modaltest.Token{ID: cfg.Admin.ID, Secret: h.member.NewToken().Secret}
	_, err = h.engine.Configs.Write(t.Context(), model.ConfigWrite{Supplied: unverified(other)})
	require.ErrorContains(t, err, "write again without verify=false")
	h.unchangedSince(before)
}

func TestAdminToken_SuppliedAgainUnverifiedStaysRejected(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	cfg, err := h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	h.modal.SetDisabled(cfg.Admin.ID, true)
	h.hours(24)
	before := h.snapshot()
	h.configure(model.ConfigWrite{Supplied: unverified(modaltest.Token{ID: cfg.Admin.ID, Secret: cfg.Admin.Secret})})
	h.unchangedSince(before)
	cfg, err = h.engine.Configs.Read(t.Context())
	require.NoError(t, err)
	require.Equal(t, model.AdminRejected, cfg.State(h.clock()))
}

func TestStaticRoles_TwoCreationsWithOneTokenGiveItToOneRole(t *testing.T) {
	t.Parallel()
	inBubble(t, func(b *bubble) {
		token := b.member.NewToken()
		b.disk.Storage = &slowEntry{b.storage, "token/" + token.ID}
		created := make(chan error, 2)
		for _, name := range []string{"ci", "gpu"} {
			go func() {
				_, err := b.engine.Roles.Write(b.t.Context(), staticRole(name, token))
				created <- err
			}()
			require.NoError(b.t, waitFor(b.t.Context(), time.Second))
		}

		first, second := <-created, <-created
		if first != nil {
			first, second = second, first
		}
		require.NoError(b.t, first)
		require.ErrorContains(b.t, second, "already belongs to another role")
	})
}

func TestAdminToken_AMountsTokenKeepsTheGracePeriodOfItsRemoval(t *testing.T) {
	t.Parallel()
	for _, grace := range []time.Duration{0, 3 * time.Hour} {
		t.Run(grace.String(), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.managed("ci")
			made := h.current("ci")
			h.rotate(model.RotateRequest{Role: "ci"})
			apiToken := made.APIToken()
			h.configure(model.ConfigWrite{Supplied: model.Supplied{Token: &apiToken, Verify: true}})

			h.configure(model.ConfigWrite{RemoveAdmin: true, Grace: &grace})

			require.Equal(t, h.engine.Mount.Now().Add(grace), h.revocation(made.ID).NotBefore)
		})
	}
}
