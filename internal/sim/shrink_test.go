// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// stepsOf returns a failure of a run with steps 1 to n, each of which has two parts.
func stepsOf(p Plan, promise string, n int) *Failure {
	f := &Failure{Plan: p, Promise: promise}
	all := len(p.Steps) == 0
	for step := 1; step <= n; step++ {
		if !all && !slices.Contains(p.Steps, step) {
			continue
		}
		if all {
			f.Plan.Steps = append(f.Plan.Steps, step)
		}
		for _, part := range []string{".1", ".2"} {
			if name := stepName(step) + part; !p.leavesOut(name) {
				f.parts = append(f.parts, name)
			}
		}
	}
	for _, name := range []string{"Clocks", "Slow"} {
		if !p.leavesOut(name) {
			f.conditions = append(f.conditions, name)
		}
	}
	return f
}

func TestShrink_KeepsOnlyWhatBreaksThePromise(t *testing.T) {
	t.Parallel()
	var tries int
	simulate := func(p Plan) *Failure {
		tries++
		f := stepsOf(p, "the promise", 40)
		if !slices.Contains(f.parts, "3.2") || !slices.Contains(f.parts, "17.1") || !slices.Contains(f.conditions, "Slow") {
			return nil
		}
		return f
	}
	short := Shrink(simulate(Plan{Seed: 9}), time.Minute, simulate)
	require.Equal(t, Plan{Seed: 9, Steps: []int{3, 17}, Without: []string{"Clocks", "17.2", "3.1"}}, short.Plan)
	require.Less(t, tries, 60)
}

func TestShrink_KeepsNoRunThatBreaksAnotherPromise(t *testing.T) {
	t.Parallel()
	simulate := func(p Plan) *Failure {
		if f := stepsOf(p, "the promise", 10); len(f.Plan.Steps) == 10 {
			return f
		}
		return stepsOf(p, "another promise", 10)
	}
	require.Len(t, Shrink(simulate(Plan{}), time.Minute, simulate).Plan.Steps, 10)
}

func TestShrink_EndsWhenItsTimeIsUsed(t *testing.T) {
	t.Parallel()
	first := stepsOf(Plan{}, "the promise", 10)
	require.Same(t, first, Shrink(first, 0, func(Plan) *Failure { panic("no time is left") }))
}

func TestPlan_ReadsWhatItPrints(t *testing.T) {
	t.Parallel()
	for _, p := range []Plan{{Seed: 1}, {Seed: 1 << 63, Steps: []int{noStep}}, {Seed: 7, Steps: []int{2, 30}, Without: []string{"2.1", "Clocks"}}} {
		again, err := ParsePlan(p.String())
		require.NoError(t, err)
		require.Equal(t, p, again)
	}
	for _, text := range []string{"seed=x", "steps=1,x", "step=1"} {
		_, err := ParsePlan(text)
		require.ErrorContains(t, err, "cannot be read")
	}
}

func TestFailure_MarksTheLinesAboutItsTokenAndServiceUser(t *testing.T) {
	t.Parallel()
	f := &Failure{
		Text:   "Modal rejects token ak-1",
		others: map[string]string{"ak-1": "vault-2f9f1a7c-ci-abc", "ak-2": "vault-2f9f1a7c-ci-xyz"},
		history: []line{
			{FirstDay, 1, "put cred/ci: ak-1"}, {FirstDay, 2, "put cred/ci: ak-2"}, {FirstDay.Add(time.Hour), 4, "delete vault-2f9f1a7c-ci-abc"}, {FirstDay, lastStep, "BROKEN: Modal rejects token ak-1"},
		},
	}
	text := f.String()
	require.Contains(t, text, "The lines marked with > are about ak-1 and vault-2f9f1a7c-ci-abc, in these steps: 1, 4, end.")
	require.Contains(t, text, "   1 > 2026-03-01 12:00:00  put cred/ci: ak-1\n")
	require.Contains(t, text, "   2   2026-03-01 12:00:00  put cred/ci: ak-2\n")
	require.Contains(t, text, "   4 > 2026-03-01 13:00:00  delete vault-2f9f1a7c-ci-abc\n")
}
