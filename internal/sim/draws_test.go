// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDraws_OfAStepDoNotDependOnOtherSteps(t *testing.T) {
	t.Parallel()
	all, short := &Run{draws: newDraws(5)}, &Run{draws: newDraws(5)}
	draw := func(run *Run, step int) (drawn []int) {
		run.draws.begin(step)
		for range 20 {
			drawn = append(drawn, run.roll("a", 1000), run.roll("b", 1000))
		}
		return drawn
	}
	first, second := draw(all, 1), draw(all, 2)
	require.NotEqual(t, first, second)
	require.Equal(t, second, draw(short, 2))
}

func TestDraws_AreEvenlyDistributed(t *testing.T) {
	t.Parallel()
	var counts [7]int
	for seed := range uint64(7000) {
		run := &Run{draws: newDraws(seed)}
		counts[run.roll("a number", len(counts))]++
	}
	for _, count := range counts {
		require.InDelta(t, 1000, count, 150)
	}
}
