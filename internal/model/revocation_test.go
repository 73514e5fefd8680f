// SPDX-License-Identifier: MPL-2.0

package model

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRevocation_IsDueAtTheTokensExpiryOnTheNodesClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		expires time.Time
		offset  time.Duration
		due     time.Time
	}{
		"no expiry":                {time.Time{}, 0, now.Add(time.Hour)},
		"after the grace period":   {now.Add(2 * time.Hour), 0, now.Add(time.Hour)},
		"within the grace period":  {now.Add(30 * time.Minute), 0, now.Add(30 * time.Minute)},
		"the node's clock is fast": {now.Add(20 * time.Minute), 15 * time.Minute, now.Add(35 * time.Minute)},
		"the node's clock is slow": {now.Add(70 * time.Minute), -30 * time.Minute, now.Add(40 * time.Minute)},
		"expired":                  {now.Add(-time.Hour), 0, now},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token := Token{ID: "ak-1", ExpiresAt: test.expires, ClockOffset: test.offset}
			entry := NewTokenRevocation(token, ReasonRotated, now, time.Hour)
			require.Equal(t, test.due, entry.NotBefore)
			require.Equal(t, test.due, entry.NextAttempt)
		})
	}
}

func TestRevocation_TheProofIsTheStrongestThatModalGave(t *testing.T) {
	t.Parallel()
	first := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		entry Revocation
		proof string
	}{
		"with a witness":                       {Revocation{}, ProofRejected},
		"without a witness":                    {Revocation{FirstRejectedAt: first}, ProofRejectedTwice},
		"acknowledged":                         {Revocation{Acknowledged: true}, ProofDeleted},
		"acknowledged after a first rejection": {Revocation{Acknowledged: true, FirstRejectedAt: first}, ProofDeleted},
	} {
		require.Equal(t, test.proof, test.entry.Proof(), name)
	}
}

func TestRevocation_AUseCountsByModalsClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	for name, test := range map[string]struct {
		used   time.Time
		offset time.Duration
		counts bool
	}{
		"never":                                 {time.Time{}, 0, false},
		"a moment ago":                          {now.Add(-time.Second), 0, true},
		"within two refresh intervals":          {now.Add(-10*time.Minute + time.Second), 0, true},
		"two refresh intervals ago":             {now.Add(-10 * time.Minute), 0, false},
		"a moment ago, the node's clock ahead":  {now.Add(-time.Hour), time.Hour, true},
		"long ago, the node's clock behind":     {now.Add(30 * time.Minute), -time.Hour, false},
		"before the rotation, the clocks agree": {now.Add(-2 * time.Hour), 0, false},
	} {
		entry := Revocation{Token: Token{ClockOffset: test.offset}, Since: now.Add(-time.Hour), Refresh: 5 * time.Minute}
		require.Equal(t, test.counts, entry.CountsAsUse(test.used, now), name)
	}
	justRotated := Revocation{Since: now.Add(-time.Minute), Refresh: 5 * time.Minute}
	require.False(t, justRotated.CountsAsUse(now.Add(-2*time.Minute), now), "the token was current at that time")
}

func TestRepairTimes_TheExtensionOfAUsedTokenCountsFromNowToo(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	ahead := now.Add(30 * Day)
	entry := Revocation{Since: ahead, NotBefore: ahead.Add(time.Hour), NextAttempt: ahead.Add(time.Hour), HoldUntil: ahead.Add(3 * time.Hour)}

	repaired := entry.RepairTimes(now)

	require.Equal(t, now.Add(time.Hour), repaired.NotBefore)
	require.Equal(t, now.Add(3*time.Hour), repaired.HoldUntil)
}

func TestSchedule_ARejectedRoleWhoseRotationFailsBacksOff(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, time.March, 1, 12, 0, 0, 0, time.UTC)
	role := &Role{Type: TypeManaged, RotationPeriod: 90 * Day, Managed: &ManagedPolicy{}}
	cred := Credential{Token: Token{ID: "ak-1"}, LastRotation: now, NextRotation: now.Add(90 * Day), RejectedSince: now}
	require.Equal(t, now, NewRotation("ci", role, &cred, now).NextAttempt(now), "the role's consumers have no valid token")

	noJitter := func(time.Duration) time.Duration { return 0 }
	failed := cred.WithFailure(now, UserErrorf("Modal does not answer"), noJitter)

	require.Equal(t, failed.NextAttempt, NewRotation("ci", role, failed, now).NextAttempt(now))
	require.True(t, failed.NextAttempt.After(now))
}
