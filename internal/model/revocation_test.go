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
