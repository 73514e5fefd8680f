// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/sim"
)

// spec lists the promises that the engine keeps today. without lists the conditions that are off because of a known
// fault.
var (
	spec    = sim.Spec{DeleteKeepsGrace: true, ThrottleMayHideWork: true, Heals: true}
	without []string
)

// simulate executes one run.
func simulate(t *testing.T, plan sim.Plan, report *sim.Report) (failure *sim.Failure) {
	t.Helper()
	var log io.Writer
	if path := os.Getenv("SIM_LOG"); path != "" {
		file, err := os.Create(path)
		require.NoError(t, err)
		defer func() { _ = file.Close() }()
		log = file
	}
	synctest.Test(t, func(t *testing.T) {
		cryptotest.SetGlobalRandom(t, plan.Seed)
		failure = sim.Simulate(plan, startDriver, spec, report, log)
	})
	return failure
}

// shrinkBudget is how long a failed run is shortened. SIM_SHRINK changes it.
const shrinkBudget = 30 * time.Second

// explain fails the test with the shortest run that breaks the same promise, and with the command that repeats it.
func explain(t *testing.T, failure *sim.Failure) {
	t.Helper()
	budget := shrinkBudget
	if own, err := time.ParseDuration(os.Getenv("SIM_SHRINK")); err == nil {
		budget = own
	}
	first := failure
	report := sim.NewReport()
	defer watch(report)()
	failure = sim.Shrink(first, budget, func(plan sim.Plan) *sim.Failure { return simulate(t, plan, report) })
	t.Fatalf("%s\nThe run was shortened from %d steps and %d lines to %d steps and %d lines in %d tries. Repeat it:\n\n    %s\n",
		failure, len(first.Plan.Steps), first.Lines(), len(failure.Plan.Steps), failure.Lines(), report.Runs, repeatCommand(failure.Plan))
}

func repeatCommand(plan sim.Plan) string {
	return fmt.Sprintf("SIM_RUN='%s' go test -count=1 -run '^TestLives_RepeatsOneRun$' ./test/lifecycle", plan)
}

// simulateRuns executes count runs, from a seed on.
func simulateRuns(t *testing.T, seed uint64, count int, report *sim.Report) {
	t.Helper()
	defer debug.SetGCPercent(debug.SetGCPercent(400)) // a run is small, and a third of its time is garbage collection
	defer watch(report)()                             // also if the race detector ends the test
	for i := range uint64(count) {
		if failure := simulate(t, sim.Plan{Seed: seed + i, Without: without}, report); failure != nil {
			t.Logf("run %d fails", i+1)
			explain(t, failure)
		}
	}
}

// watch ends the test binary if a run hangs, and prints the run's last steps. If goroutines in a bubble wait for
// each other outside of its clock, the bubble stands still for ever. An operation takes milliseconds, and far less than
// the patience of watch also on a busy machine.
func watch(report *sim.Report) (stop func()) {
	done := make(chan struct{})
	go func() {
		last, _ := report.Progress()
		for {
			select {
			case <-done:
				return
			case <-time.After(2 * time.Minute):
			}
			count, tail := report.Progress()
			if count == last {
				panic("a run hangs:\n" + tail)
			}
			last = count
		}
	}()
	return func() { close(done) }
}

// many returns the number of runs, or a few of them with the race detector and with -short.
func many(runs int) int {
	switch {
	case testing.Short():
		return max(1, runs/50)
	case raceDetector:
		return runs / 10
	}
	return runs
}

func TestLives(t *testing.T) { //nolint:paralleltest // the seed sets the global source of random names
	report := sim.NewReport()
	began := time.Now()
	simulateRuns(t, 1, many(150), report) // enough to catch nearly every planted fault
	table, _ := report.Table()
	t.Logf("%s\nwhat these runs reached:\n%s", speed(report, time.Since(began)), table)
}

func speed(report *sim.Report, took time.Duration) string {
	return fmt.Sprintf("%d runs, %d steps and %.0f simulated days in %.0f s: %.1f runs and %.0f days a second",
		report.Runs, report.Steps, report.Days, took.Seconds(), float64(report.Runs)/took.Seconds(), report.Days/took.Seconds())
}

// Goroutines that draw random bytes at the same instant are not ordered, so a run differs once in a hundred or so.
func TestLives_SameSeedGivesTheSameRun(t *testing.T) { //nolint:paralleltest // the seed sets the global source of random names
	const seed, allowed = 2000, 2
	first, again := sim.NewReport(), sim.NewReport()
	first.Keep, again.Keep = true, true
	simulateRuns(t, seed, many(50), first)
	simulateRuns(t, seed, many(20), again)
	require.NotEmpty(t, again.Histories)
	var different []int
	for i := range again.Histories {
		if first.Histories[i] != again.Histories[i] {
			different = append(different, i)
		}
	}
	require.LessOrEqual(t, len(different), allowed, "runs of seed %d that differ: %v", seed, different)
}

// TestLives_RepeatsOneRun repeats the run that a failure prints.
func TestLives_RepeatsOneRun(t *testing.T) { //nolint:paralleltest // the seed sets the global source of random names
	text := os.Getenv("SIM_RUN")
	if text == "" {
		t.Skip("a failure of the simulation prints a command that sets SIM_RUN")
	}
	plan, err := sim.ParsePlan(text)
	require.NoError(t, err)
	report := sim.NewReport()
	defer watch(report)()
	if failure := simulate(t, plan, report); failure != nil {
		t.Fatalf("%s", failure)
	}
}

// enoughRuns is the number of runs that reach every expected situation.
const enoughRuns = 4000

// TestSimulate simulates runs for SIM_SECONDS and prints its progress. `make simulate` runs it.
func TestSimulate(t *testing.T) { //nolint:paralleltest // the seed sets the global source of random names
	seconds, _ := strconv.Atoi(os.Getenv("SIM_SECONDS"))
	if seconds == 0 {
		t.Skip("set SIM_SECONDS to the number of seconds to simulate")
	}
	seed, _ := strconv.ParseUint(os.Getenv("SIM_SEED"), 10, 64)
	if seed == 0 {
		seed = uint64(time.Now().Unix()) << 20 // seeds of runs that start in different seconds never meet
	}
	const batch = 50
	report := sim.NewReport()
	for began := time.Now(); time.Since(began) < time.Duration(seconds)*time.Second; seed += batch {
		simulateRuns(t, seed, batch, report)
		fmt.Printf("seed %d: %s\n", seed, speed(report, time.Since(began)))
	}
	table, empty := report.Table()
	fmt.Print(table)
	switch {
	case len(empty) == 0:
	case report.Runs < enoughRuns:
		fmt.Printf("%d expected situations were not reached, but only %d runs or more must reach all: %q\n", len(empty), enoughRuns, empty)
	default:
		t.Errorf("%d expected situations were never reached: %q", len(empty), empty)
	}
}
