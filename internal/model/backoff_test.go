// SPDX-License-Identifier: MPL-2.0

package model

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBackOff_GrowsToSixHoursAndStaysThere(t *testing.T) {
	t.Parallel()
	longest := func(most time.Duration) time.Duration { return most }
	for attempts, before := 1, time.Duration(0); attempts <= 200; attempts++ {
		wait := backOff(attempts, longest)
		require.GreaterOrEqual(t, wait, before, attempts)
		require.LessOrEqual(t, wait, MaxBackOff, attempts)
		before = wait
	}
	require.Equal(t, MaxBackOff, backOff(200, longest))
	require.Equal(t, MaxBackOff/2, backOff(200, func(time.Duration) time.Duration { return 0 }))
}
