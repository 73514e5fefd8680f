// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// Promises to two who act at once. Gates decide who is where, and nobody's luck.

func TestWhoeverWaitedWhileARoleRotatedLeavesTheTokenThatWasPromisedAGracePeriod(t *testing.T) {
	t.Parallel()
	for name, waiting := range map[string]struct {
		does func(h *harness, key string) act
		// What it is told where the entry is known by the token's ID, and by the service user's name.
		says, saysOfName string
	}{
		"the worker": {func(h *harness, _ string) act { return h.ticking }, "", ""},
		"an ending without force": {
			func(h *harness, key string) act { return h.ending(key, false) },
			"is in its grace period until 2026-03-02T12:00:00Z", "the revocation queue has no token",
		},
		"a forgetting without force": {
			func(h *harness, key string) act { return h.forgetting(key, false) },
			"Modal still accepts token", "",
		},
	} {
		for _, underName := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/underName=%t", name, underName), func(t *testing.T) {
				t.Parallel()
				h := newHarness(t)
				old := h.managed("ci")
				key := h.leftByACut("ci", underName)
				gate := h.gateAt("ServiceUserCreate")
				rotation := h.begin(t.Context(), h.rotating(model.RotateRequest{Role: "ci"}))
				gate.await()
				waits := h.begin(t.Context(), waiting.does(h, key))
				h.inLine("ci", 2)

				gate.open()

				rotation.succeeds()
				says := waiting.says
				if underName {
					says = waiting.saysOfName
				}
				if says == "" {
					waits.succeeds()
				} else {
					waits.isRefused(says)
				}
				require.NotEqual(t, old, h.current("ci").ID)
				require.True(t, h.alive(old))
				h.tick()
				require.Equal(t, []string{old}, h.ledger(), "one entry answers for it")
				require.Equal(t, model.StateGrace, h.entry(old).State(h.engine.Mount.Now()))
				h.minutes(24*60 - 1)
				require.True(t, h.alive(old), "to the last minute")
				h.minutes(2)
				require.False(t, h.alive(old))
			})
		}
	}
}

func TestForgettingATokenEndsItUnderNoOtherKey(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.leftByACut("ci", true)
	h.rotate(model.RotateRequest{Role: "ci"})
	h.forget(old)
	h.minutes(20)
	require.True(t, h.alive(old), "forgetting ends nothing")
	h.modal.DeleteToken(old) // as the operator does whom it is left to
}

func TestAWorkerThatWaitedForARoleWhoseTokenWentElsewhereLeavesTheToken(t *testing.T) {
	t.Parallel()
	for _, toAdmin := range []bool{false, true} {
		t.Run(fmt.Sprintf("toAdmin=%t", toAdmin), func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			token := h.static("ci")
			h.deleteRole("ci")
			h.advance(25 * time.Hour) // its grace period is over
			leave := h.occupy("ci")
			tick := h.begin(t.Context(), h.ticking)
			h.inLine("ci", 2)

			if toAdmin {
				h.configure(model.ConfigWrite{Supplied: bringing(token)})
			} else {
				h.write(staticRole("other", token))
			}
			h.modal.SetOutage(true)
			leave()

			tick.succeeds()
			require.Nil(t, h.entry(token.ID), "a token in use is in no ledger")
			require.True(t, h.alive(token.ID))
			require.NotContains(t, h.told.events(), model.EventRevoke)
		})
	}
}

func TestWhoeverWorksOnAnEntryHoldsTheRoleThatItBelongsToNow(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	token := h.static("first")
	h.deleteRole("first")
	leaveFirst := h.occupy("first")
	forgetting := h.begin(t.Context(), h.forgetting(token.ID, true))
	h.inLine("first", 2)
	h.write(staticRole("second", token))
	h.rotate(model.RotateRequest{Role: "second", Supplied: bringing(h.member.NewToken())})
	leaveSecond := h.occupy("second")

	leaveFirst()

	h.inLine("second", 2)
	require.Equal(t, []string{token.ID}, h.ledger())
	leaveSecond()
	forgetting.succeeds()
	require.Empty(t, h.ledger())
}

func TestACreateThatWaitedDoesNotChangeTheRoleThatAnotherMadeMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	less := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer})
	more := managedRole("ci", map[string]modalapi.EnvironmentRole{"main": modalapi.RoleContributor, "staging": modalapi.RoleContributor})
	less.Expect, more.Expect = model.ExpectAbsent, model.ExpectAbsent
	gate := h.gateAt("ServiceUserCreate")
	first := h.begin(t.Context(), h.writing(less))
	gate.await()
	second := h.begin(t.Context(), h.writing(more))
	h.inLine("ci", 2)

	gate.open()

	first.succeeds()
	second.isRefused("another request has created role ci in the meantime")
	require.Equal(t, map[string]string{"main": "viewer"}, h.rolesOf(h.current("ci").ID))
	require.Len(t, h.modal.ServiceUsers(), 1)
}

func TestAnUndoThatWaitedLeavesATokenThatAnOperatorEndedMeanwhile(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	old := h.managed("ci")
	h.rotate(model.RotateRequest{Role: "ci"})
	current := h.current("ci").ID
	gate := h.gateAt("ServiceUserDelete")
	ending := h.begin(t.Context(), h.ending(old, true))
	gate.await()
	undo := h.begin(t.Context(), h.rotating(model.RotateRequest{Role: "ci", ToPrevious: true}))
	h.inLine("ci", 2)

	gate.open()

	ending.succeeds()
	undo.isRefused("no previous token")
	require.Equal(t, current, h.current("ci").ID)
}

// deposed is the storage of a node that leads no more.
type deposed struct{ logical.Storage }

func (deposed) Put(context.Context, *logical.StorageEntry) error {
	return errors.New("this node no longer leads")
}

func (deposed) Delete(context.Context, string) error { return errors.New("this node no longer leads") }

// beside is the engine of a node that led before.
func (h *harness) beside() *Engine {
	leads := h.engine
	defer func() { h.engine = leads }()
	h.restartOver(deposed{h.storage})
	return h.engine
}

func TestANodeThatLeadsNoMoreGivesNoRightsBackThatTheOtherTook(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	id := h.managed("ci")
	other := h.beside()
	_, _, err := other.Mount.RotationWithPrevious(t.Context(), "ci") // from now on it remembers the policy
	require.NoError(t, err)
	narrow := map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}
	h.write(managedRole("ci", narrow))

	h.advance(2 * model.Day)
	require.Error(t, other.Worker.Tick(t.Context()))

	for _, user := range h.modal.ServiceUsers() {
		if user.TokenID == id {
			require.Equal(t, map[string]string{"main": "viewer"}, user.Roles)
		}
	}
}

func TestANodeThatLeadsNoMoreEndsNothingThatTheOtherIsMakingHoweverFarAheadItsClockIs(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	leads, other := h.engine, h.beside()
	gate := h.gateAt("EnvironmentRoleSet")
	rotates := h.begin(t.Context(), func(ctx context.Context) error {
		_, err := leads.Rotations.Rotate(ctx, model.RotateRequest{Role: "ci"})
		return err
	})
	gate.await()

	h.ahead.Store(int64(7 * time.Hour))
	require.Error(t, other.Worker.Tick(t.Context()))
	h.ahead.Store(0)

	gate.open()
	rotates.succeeds()
	require.True(t, h.alive(h.current("ci").ID))
}
