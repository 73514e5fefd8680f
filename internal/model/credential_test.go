// SPDX-License-Identifier: MPL-2.0

package model

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCredential_TTLEndsWithTheTokenOnTheNodesClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	role := &Role{Type: TypeStatic, RefreshInterval: 5 * time.Minute, RotationPeriod: 90 * Day}
	for offset, want := range map[time.Duration]time.Duration{0: 2 * time.Minute, 2 * time.Hour: 5 * time.Minute, -time.Minute: time.Minute} {
		cred := Credential{LastRotation: now, Token: Token{ExpiresAt: now.Add(2 * time.Minute), ClockOffset: offset}}
		require.Equal(t, want, cred.TTL(role, now), "the node's clock is %s ahead of Modal's", offset)
	}
}

func TestCredential_IsDueByItsExpiryOnTheNodesClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cred := Credential{LastRotation: now, Token: Token{ExpiresAt: now.Add(10 * Day), ClockOffset: 2 * time.Hour}}

	due := cred.RotateBy(&Role{Type: TypeStatic, RotationPeriod: 90 * Day})

	require.Equal(t, cred.LocalExpiry(), due)
	require.NotEqual(t, cred.ExpiresAt, due)
}

func TestCredential_NextRotationDoesNotDependOnTheDifferenceOfTheClocks(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	role := &Role{Type: TypeManaged, RotationPeriod: 90 * Day, Managed: &ManagedPolicy{}}
	none := func(time.Duration) time.Duration { return 0 }
	for name, change := range map[string]func(Credential) *Credential{
		"a first token":            func(c Credential) *Credential { return NewCredential(role, c.Token, now, none) },
		"a rotation":               func(c Credential) *Credential { return c.Successor(role, c.Token, now, none) },
		"a change of the schedule": func(c Credential) *Credential { return c.Rescheduled(role, now, none) },
		"a verification that brings another expiry": func(c Credential) *Credential {
			later := c.Token
			later.ExpiresAt = later.ExpiresAt.Add(Day)
			return c.WithVerifiedToken(role, later, now, none)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			next := func(offset time.Duration) time.Time {
				c := Credential{LastRotation: now, Token: Token{ExpiresAt: now.Add(10 * Day).Add(-offset), ClockOffset: offset, CreatedByMount: true}}
				c.NextRotation = c.deadline()
				return change(c).NextRotation
			}
			for _, offset := range []time.Duration{-3 * time.Hour, 3 * time.Hour} {
				require.Equal(t, next(0), next(offset), "the node's clock is %s ahead of Modal's", offset)
			}
		})
	}
}
