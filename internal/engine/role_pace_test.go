// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSchedules_AreJudgedByTheirClosestFirings(t *testing.T) {
	t.Parallel()
	for text, closest := range map[string]time.Duration{
		"* * * * *": time.Minute, "*/7 * * * *": 4 * time.Minute, "0 3 * * *": Day, "30 3 * * SAT": 7 * Day, "0 0,1 1 1 *": time.Hour,
		"50 0 * * *": Day, "0,50 0,23 * * *": 10 * time.Minute, "0 0 1 * *": 28 * Day, "0 0 1,31 * *": Day, "0 12 * * MON,THU": 3 * Day,
		"0 0 29 2 *": 1461 * Day, "0 0 13 * FRI": Day, "0 0 1 1 *": 365 * Day,
	} {
		schedule, err := parseSchedule(text)
		require.NoError(t, err)
		require.Equal(t, closest, closestFirings(schedule), text)
	}
}
