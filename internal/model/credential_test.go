// SPDX-License-Identifier: MPL-2.0

package model

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCredential_IsDueByItsExpiryOnTheNodesClock(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	cred := Credential{LastRotation: now, Token: Token{ExpiresAt: now.Add(10 * Day), ClockOffset: 2 * time.Hour}}

	due := cred.RotateBy(&Role{Type: TypeStatic, RotationPeriod: 90 * Day})

	require.Equal(t, cred.LocalExpiry(), due)
	require.NotEqual(t, cred.ExpiresAt, due)
}
