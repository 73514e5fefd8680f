// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// unasked is a token that an operator brings with verify=false.
func unasked(token modaltest.Token) Supplied {
	pair := bringing(token)
	pair.Verify = false
	return pair
}

func TestATokenThatAnOperatorEndsDoesNotBecomeTheAdminsMeanwhile(t *testing.T) {
	t.Parallel()
	for name, as := range map[string]struct {
		brings func(modaltest.Token) Supplied
		gone   bool // whether it is gone when Modal is first asked about it
	}{
		"proven":   {bringing, true},
		"unproven": {unasked, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			robot := h.workspace.AddServiceUser("robot")
			h.write(RoleWrite{Name: "ci", Kind: to(TypeStatic), Supplied: as.brings(robot)})
			h.rotate(RotateRequest{Role: "ci", Supplied: bringing(h.workspace.AddServiceUser("robot-2")), Force: true})
			gate := h.gateAt("TokenInfoGet")
			ending := h.begin(t.Context(), h.ending(robot.ID, true))
			gate.await()
			require.Equal(t, as.gone, !h.alive(robot.ID))

			_, err := h.engine.WriteConfig(t.Context(), ConfigWrite{Supplied: unasked(robot)})

			require.True(t, IsMistake(err), "its end is in storage already")
			gate.open()
			ending.succeeds()
			require.False(t, h.alive(robot.ID))
			require.Empty(t, h.ledger())
		})
	}
}

func TestATokenThatBecomesTheAdminsWhileTheEngineIsAboutToEndItIsLeft(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	pair := h.current("ci").pair()
	grace := time.Duration(0)
	h.rotate(RotateRequest{Role: "ci", Grace: &grace})
	gate := h.gateAt("TokenInfoGet") // the engine sees first that the role's current token works
	ending := h.begin(t.Context(), h.ending(old, false))
	gate.await()

	h.configure(ConfigWrite{Supplied: bringing(modaltest.Token{ID: pair.ID, Secret: pair.Secret})})

	gate.open()
	ending.succeeds()
	require.Empty(t, h.modal.Calls("ServiceUserDelete"))
	h.minutes(3)
	require.Nil(t, h.entry(old), "a token in use is in no ledger")
	require.True(t, h.alive(old))
	h.modal.DeleteToken(old) // which the configuration alone answers for
}

func TestAnAdminTokenThatThisMountMadeWorksOnForTheCallsUnderWayAlsoWhereItIsRemoved(t *testing.T) {
	t.Parallel()
	for name, remove := range map[string]func(h *harness) error{
		"removed": func(h *harness) error {
			_, err := h.engine.WriteConfig(t.Context(), ConfigWrite{RemoveAdmin: true})
			return err
		},
		"deleted": func(h *harness) error {
			_, err := h.engine.DeleteConfig(t.Context(), false)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			h.managed("ci")
			made := h.current("ci")
			h.rotate(RotateRequest{Role: "ci"})
			pair := made.pair()
			h.configure(ConfigWrite{Supplied: Supplied{Pair: &pair, Verify: true}})

			require.NoError(t, remove(h))

			require.Equal(t, methodAutomatic, h.entry(made.ID).Method)
			h.configure(ConfigWrite{Supplied: bringing(h.member.NewToken()), ServerURL: to(h.modal.URL())})
			h.minutes(55)
			require.True(t, h.alive(made.ID))
			h.minutes(10)
			require.False(t, h.alive(made.ID))
		})
	}
}

func TestAdminToken_ItsVerifiedSecretIsNotLostToAnUnverifiedOne(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	cfg, err := h.engine.Config(t.Context())
	require.NoError(t, err)
	before := h.snapshot()
	other := modaltest.Token{ID: cfg.Admin.ID, Secret: h.member.NewToken().Secret}
	_, err = h.engine.WriteConfig(t.Context(), ConfigWrite{Supplied: unasked(other)})
	require.ErrorContains(t, err, "leave verify=false out")
	h.unchangedSince(before)
}

func TestAdminToken_WhatModalSaidOfItIsNotForgottenWhenItIsBroughtAgainUnasked(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	cfg, err := h.engine.Config(t.Context())
	require.NoError(t, err)
	h.modal.SetDisabled(cfg.Admin.ID, true)
	h.minutes(24 * 60)
	before := h.snapshot()
	h.configure(ConfigWrite{Supplied: unasked(modaltest.Token{ID: cfg.Admin.ID, Secret: cfg.Admin.Secret})})
	h.unchangedSince(before)
	cfg, err = h.engine.Config(t.Context())
	require.NoError(t, err)
	require.Equal(t, AdminRejected, cfg.State(h.clock()))
}
