// SPDX-License-Identifier: MPL-2.0

package model

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// drawTime returns a time that a right or a wrong clock may have stored: from 100 days ago to 100 days ahead, or none.
func drawTime(t *rapid.T, name string) time.Time {
	if rapid.Bool().Draw(t, name+" is set") {
		return noon.Add(time.Duration(rapid.IntRange(-144_000, 144_000).Draw(t, name)) * time.Minute)
	}
	return time.Time{}
}

func drawLength(t *rapid.T, name string) time.Duration {
	return time.Duration(rapid.IntRange(0, 144_000).Draw(t, name)) * time.Minute
}

// An entry that stayed impossible would be due, and written, at every tick.
func TestRepairTimes_LeavesNoImpossibleTimeInARevocation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		stored := Revocation{
			Since: drawTime(rt, "since"), NotBefore: drawTime(rt, "not before"), NextAttempt: drawTime(rt, "next attempt"),
			HoldUntil: drawTime(rt, "hold until"), FirstRejectedAt: drawTime(rt, "first rejected"), FirstNotFoundAt: drawTime(rt, "first not found"),
			Tries: Tries{LastAttempt: drawTime(rt, "last attempt")},
		}
		require.False(rt, stored.RepairTimes(noon).HasImpossibleTimes(noon))
		if !stored.HasImpossibleTimes(noon) {
			require.Equal(rt, &stored, stored.RepairTimes(noon), "possible times must stay")
		}
	})
}

func TestRepairTimes_LeavesNoImpossibleTimeInAnApproval(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		began := drawTime(rt, "began")
		stored := Approval{Began: began, Lapses: began.Add(drawLength(rt, "waits")), EndedFlows: []EndedFlow{{Until: drawTime(rt, "until")}}}
		require.False(rt, stored.RepairTimes(noon).HasImpossibleTimes(noon))
	})
}

func TestRepairTimes_LeavesNoImpossibleTimeInARotation(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		role := &Role{Managed: &ManagedPolicy{Window: drawLength(rt, "window")}, RotationPeriod: time.Minute + drawLength(rt, "period")}
		role.Managed.Schedule = rapid.SampledFrom([]string{"", "0 3 * * *", "30 3 1 1 *"}).Draw(rt, "schedule")
		cred := &Credential{
			LastRotation: drawTime(rt, "last rotation"), NextRotation: drawTime(rt, "next rotation"), NextAttempt: drawTime(rt, "next attempt"),
			Token: Token{CreatedAt: drawTime(rt, "created"), ExpiresAt: drawTime(rt, "expires"), ClockOffset: drawLength(rt, "clock offset")},
		}
		jitter := func(most time.Duration) time.Duration { return most / 2 }
		repaired := NewRotation("ci", role, cred, noon).RepairTimes(noon, jitter)
		require.False(rt, repaired.HasImpossibleTimes(noon))
		require.Equal(rt, cred.LastRotation, repaired.Cred.LastRotation, "consumers detect a rotation by this time")
	})
}
