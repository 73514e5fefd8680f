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

// warned counts the events and log lines that warn about the expiry of roles' tokens.
func (h *harness) warned() int {
	h.t.Helper()
	lines := strings.Count(h.recorded.lines(), "a role's token expires")
	require.Equal(h.t, lines, count(h.recorded.events(), model.EventExpiryWarning))
	return lines
}

// steps lets days pass, with a tick on each day. After each step it expects the given total number of
// warnings.
func (h *harness) steps(steps [][2]int) {
	h.t.Helper()
	for _, step := range steps {
		for range step[0] {
			h.advance(model.Day)
			h.tick()
		}
		require.Equal(h.t, step[1], h.warned(), "day %d", h.clock().Sub(start)/model.Day)
	}
}

func (h *harness) expiring(name string) bool {
	h.t.Helper()
	r, _, err := h.engine.Mount.RotationWithPrevious(h.t.Context(), name)
	require.NoError(h.t, err)
	return r.Expiring(h.engine.Mount.Now())
}

func TestExpiryWarning_OfAStaticTokenComesAtThirtySevenAndOneDays(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(staticRole("ci", h.member.NewToken(modaltest.ExpiresAt(start.Add(40*model.Day)))))
	require.False(t, h.expiring("ci"))
	h.steps([][2]int{{9, 0}, {2, 1}, {10, 1}, {12, 2}})
	require.True(t, h.expiring("ci"))
	require.Contains(t, h.recorded.lines(), "next_step=\"vault write modal/rotate/ci token_id")
	h.restart()
	h.tick()
	require.Equal(t, 3, h.warned(), "a restart may repeat the warning once")
	h.steps([][2]int{{6, 4}, {3, 4}})
	require.True(t, h.expiring("ci"), "an expired token must count too")
}

func TestExpiryWarning_ComesForEachTokenAndForAChangedExpiry(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(staticRole("ci", h.member.NewToken(modaltest.ExpiresAt(start.Add(20*model.Day)))))
	h.minutes(3)
	require.Equal(t, 1, h.warned())
	h.modal.SetExpiry(h.current("ci").ID, start.Add(5*model.Day))
	h.verify("ci")
	h.minutes(3)
	require.Equal(t, 2, h.warned())
	h.rotate(model.RotateRequest{Role: "ci", Supplied: bringing(h.member.NewToken(modaltest.ExpiresAt(start.Add(300 * model.Day))))})
	h.minutes(3)
	require.Equal(t, 2, h.warned())
	require.False(t, h.expiring("ci"))
	h.rotate(model.RotateRequest{Role: "ci", Supplied: bringing(h.member.NewToken(modaltest.ExpiresAt(start.Add(3 * model.Day))))})
	h.minutes(3)
	require.Equal(t, 3, h.warned())
}

func TestExpiryWarning_OfAManagedRoleComesOnlyIfNoRotationIsPlanned(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ask := managedRole("healthy", viewer)
	ask.Managed.TokenTTL = to(20 * model.Day)
	h.write(ask)
	h.minutes(60)
	require.Zero(t, h.warned())
	require.False(t, h.expiring("healthy"))
	ask.Name, ask.Managed.Disabled = "disabled", to(true)
	h.write(ask)
	h.minutes(1)
	require.Equal(t, 1, h.warned())
	require.True(t, h.expiring("disabled"))
	h.write(model.RoleWrite{Name: "healthy", Managed: model.ManagedWrite{Disabled: to(true)}})
	h.minutes(1)
	require.Equal(t, 2, h.warned(), "a write of the role must trigger the warning")
}

func TestExpiryWarning_OfAManagedRoleComesIfItIsFailingOrPaused(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]func(h *harness){
		"fails": func(h *harness) {
			h.modal.Inject("ServiceUserCreate", modaltest.Fault{Code: codes.Internal, Times: -1})
		},
		"is paused": func(h *harness) { h.configure(model.ConfigWrite{Paused: to(true)}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := newHarness(t)
			ask := managedRole("ci", viewer)
			ask.Managed.TokenTTL = to(20 * model.Day)
			h.write(ask)
			trouble(h)
			h.steps([][2]int{{17, 0}})
			h.advance(model.Day) // two days before the expiry, when the token should have been rotated
			h.minutes(5)
			require.Equal(t, 1, h.warned())
			require.True(t, h.expiring("ci"))
			h.advance(model.Day)
			h.minutes(1)
			require.Equal(t, 2, h.warned())
			h.modal.ClearFaults()
		})
	}
}

func TestExpiryWarning_AnIdleTickMakesNoStorageCall(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.write(staticRole("ci", h.member.NewToken(modaltest.ExpiresAt(start.Add(20*model.Day)))))
	h.minutes(3)
	disk := &counting{Storage: h.storage}
	h.restartOver(disk)
	h.minutes(3)
	reads := disk.reads.Load()
	h.minutes(60)
	require.Equal(t, reads, disk.reads.Load())
}

func TestExpiryWarning_ComesForATokenThatExpiresWithinItsPeriod(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	const says = "before the role's rotation_period of 90d is over: replace it before that with: vault write modal/rotate/ci"
	done, err := h.engine.Roles.Write(t.Context(), staticRole("ci", h.member.NewToken(modaltest.ExpiresAt(start.Add(20*model.Day)))))
	require.NoError(t, err)
	require.Contains(t, done.Warnings[0], says)
	rotated, err := h.engine.Rotations.Rotate(t.Context(), model.RotateRequest{Role: "ci", Supplied: bringing(h.member.NewToken(modaltest.ExpiresAt(start.Add(89 * model.Day))))})
	require.NoError(t, err)
	require.Contains(t, rotated.Warnings[0], says)
	require.Equal(t, 2, strings.Count(h.recorded.lines(), "the token expires within the rotation period"), "for an approval the log must contain the warning")
	rotated, err = h.engine.Rotations.Rotate(t.Context(), model.RotateRequest{Role: "ci", Supplied: bringing(h.member.NewToken(modaltest.ExpiresAt(start.Add(91 * model.Day))))})
	require.NoError(t, err)
	require.NotContains(t, strings.Join(rotated.Warnings, "\n"), "rotation_period")
	h.write(model.RoleWrite{Name: "empty", Type: to(model.TypeStatic)})
	ask := staticRole("empty", h.member.NewToken(modaltest.ExpiresAt(start.Add(20*model.Day))))
	done, err = h.engine.Roles.Write(t.Context(), ask)
	require.NoError(t, err)
	require.Contains(t, done.Warnings[0], "before the role's rotation_period")
	ask.Name, ask.RotationPeriod, ask.Supplied = "short", to(time.Hour), bringing(h.member.NewToken(modaltest.ExpiresAt(start.Add(20*model.Day))))
	h.write(ask)
}
