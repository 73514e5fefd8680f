// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/model"
)

func TestSchedule_TheShortestGapOfACronScheduleCounts(t *testing.T) {
	t.Parallel()
	for text, closest := range map[string]time.Duration{
		"* * * * *": time.Minute, "*/7 * * * *": 4 * time.Minute, "0 3 * * *": model.Day, "30 3 * * SAT": 7 * model.Day, "0 0,1 1 1 *": time.Hour,
		"50 0 * * *": model.Day, "0,50 0,23 * * *": 10 * time.Minute, "0 0 1 * *": 28 * model.Day, "0 0 1,31 * *": model.Day, "0 12 * * MON,THU": 3 * model.Day,
		"0 0 29 2 *": 1461 * model.Day, "0 0 13 * FRI": model.Day, "0 0 1 1 *": 365 * model.Day,
	} {
		schedule, err := model.ParseScheduleField(text)
		require.NoError(t, err)
		require.Equal(t, closest, model.ClosestFirings(schedule), text)
	}
}

func TestSchedule_ANarrowerWindowMovesTheNextRotationIntoIt(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	ask := managedRole("ci", viewer)
	ask.Managed.Schedule, ask.Managed.Window = to("0 3 * * *"), to(model.Day)
	h.write(ask)
	fires := time.Date(start.Year(), start.Month(), start.Day()+1, 3, 0, 0, 0, time.UTC)
	late := *h.current("ci")
	late.NextRotation = fires.Add(70 * time.Minute) // as jitter may place it in the wide window
	require.NoError(t, h.engine.Mount.Credentials.Put(t.Context(), "ci", &late))

	h.write(model.RoleWrite{Name: "ci", Managed: model.ManagedWrite{Window: to(time.Hour)}})

	require.WithinRange(t, h.current("ci").NextRotation, fires, fires.Add(3*time.Minute))
}
