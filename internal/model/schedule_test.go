// SPDX-License-Identifier: MPL-2.0

package model

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// most is a jitter that always takes its whole share.
func most(share time.Duration) time.Duration { return share }

func none(time.Duration) time.Duration { return 0 }

// nightly returns a managed role that rotates at 3 o'clock.
func nightly(window time.Duration) *Role {
	return &Role{Type: TypeManaged, RotationPeriod: 90 * Day, Managed: &ManagedPolicy{Schedule: "0 3 * * *", Window: window}}
}

func TestSchedule_EachOfItsFieldsMovesTheNextRotation(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]struct {
		of    func(r *Role)
		moves bool
	}{
		"rotation_period":            {func(r *Role) { r.RotationPeriod = 10 * Day }, true},
		"rotation_schedule":          {func(r *Role) { r.Managed.Schedule = "0 4 * * *" }, true},
		"rotation_window":            {func(r *Role) { r.Managed.Window = time.Hour }, true},
		"disable_automated_rotation": {func(r *Role) { r.Managed.Disabled = true }, true},
		"grace_period":               {func(r *Role) { r.GracePeriod = 2 * Day }, false},
		"refresh_interval":           {func(r *Role) { r.RefreshInterval = time.Minute }, false},
		"hold_while_used":            {func(r *Role) { r.Managed.Hold = Day }, false},
		"token_ttl":                  {func(r *Role) { r.Managed.TokenTTL = 10 * Day }, false},
		"environment_roles": {func(r *Role) {
			r.Managed.EnvironmentRoles = map[string]modalapi.EnvironmentRole{"main": modalapi.RoleViewer}
		}, false},
	} {
		before, after := nightly(Day), nightly(Day)
		change.of(after)
		require.Equal(t, change.moves, after.RotatesDifferently(before), name)
	}
}

func TestSchedule_ARotationBeginsOnlyWithinTheWindow(t *testing.T) {
	t.Parallel()
	role := nightly(2 * time.Hour)
	fires := time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC)
	for after, may := range map[time.Duration]bool{
		-time.Second: false, 0: true, time.Hour: true, 2*time.Hour - time.Second: true, 2*time.Hour + time.Second: false, 23 * time.Hour: false,
	} {
		require.Equal(t, may, role.MayBegin(&Credential{LastRotation: fires.Add(-Day)}, fires.Add(after)), "%s after the scheduled time", after)
	}
	expiring := &Credential{LastRotation: fires.Add(-9 * Day), Token: Token{ExpiresAt: fires.Add(2 * Day)}}
	require.False(t, role.MayBegin(expiring, expiring.deadline().Add(-time.Second)))
	require.True(t, role.MayBegin(expiring, expiring.deadline()), "at its deadline a token waits for no window")
}

func TestSchedule_IsInUTCWhereverTheNodeIs(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 23, 30, 0, 0, time.FixedZone("JST", 9*60*60)) // 14:30 UTC
	fires := time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC)
	role := nightly(0)
	require.Equal(t, fires, role.NextRotation(now, now, time.Time{}, none))
	require.Equal(t, []time.Time{fires, fires.Add(Day), fires.Add(2 * Day)}, role.Upcoming(now))
	require.Equal(t, Day, role.Period(now))
	stored := NewRotation("ci", role, &Credential{LastRotation: now, NextRotation: fires}, now)
	require.False(t, stored.HasImpossibleTimes(now))
	require.Equal(t, time.UTC, WholeSeconds(now).Location())
}

func TestSchedule_JitterPassesNeitherThePeriodTheWindowNorTheDeadline(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	fires := time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC)
	period := &Role{Type: TypeManaged, RotationPeriod: 20 * Day, Managed: &ManagedPolicy{}}
	for name, test := range map[string]struct {
		role            *Role
		expires         time.Time
		earliest, never time.Time
	}{
		"a period":                            {period, time.Time{}, now.Add(19 * Day), now.Add(20 * Day)},
		"a period and an expiry":              {period, now.Add(10 * Day), now.Add(9 * Day), now.Add(9 * Day)},
		"a schedule":                          {nightly(0), time.Time{}, fires, fires},
		"a schedule with a window":            {nightly(2 * time.Hour), time.Time{}, fires, fires.Add(6 * time.Minute)},
		"a schedule and an expiry":            {nightly(20 * time.Hour), now.Add(16 * time.Hour), now.Add(16*time.Hour - 96*time.Minute), now.Add(16*time.Hour - 96*time.Minute)},
		"a schedule just before the deadline": {nightly(20 * time.Hour), now.Add(17 * time.Hour), fires, fires.Add(18 * time.Minute)},
	} {
		for _, jitter := range []Jitter{none, most} {
			next := test.role.NextRotation(now, now, test.expires, jitter)
			require.False(t, next.Before(test.earliest), "%s: %s", name, next)
			require.False(t, next.After(test.never), "%s: %s", name, next)
		}
	}
}
