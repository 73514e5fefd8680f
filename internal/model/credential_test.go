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
