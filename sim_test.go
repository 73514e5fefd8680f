// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	cmdline "flag"
	"fmt"
	"io"
	"os"
	"strconv"
	"testing"
	"testing/cryptotest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"vault-plugin-secrets-modal/internal/sim"
)

// spec is what the engine is held to today, and without are the troubles whose fault is known.
var (
	spec    = sim.Spec{DeleteKeepsGrace: true, ThrottleMayHideWork: true, Heals: true}
	without = sim.Without{}
)

// live lives one life of a seed.
func live(t *testing.T, rt *rapid.T, report *sim.Report) {
	t.Helper()
	var log io.Writer
	if path := os.Getenv("SIM_LOG"); path != "" {
		file, err := os.Create(path)
		require.NoError(t, err)
		defer func() { _ = file.Close() }()
		log = file
	}
	names := rapid.Uint64().Draw(rt, "names")
	rapid.SyncTest(rt, func(rt *rapid.T) {
		cryptotest.SetGlobalRandom(t, names)
		sim.Simulate(rt, startDriver, spec, without, report, log)
	})
}

// lives lives so many lives from a seed on; 0 is a random one.
func lives(t *testing.T, seed uint64, count int, report *sim.Report) {
	t.Helper()
	set := func(name, value string) (back func()) {
		was := cmdline.Lookup(name).Value.String()
		require.NoError(t, cmdline.Set(name, value))
		return func() { _ = cmdline.Set(name, was) }
	}
	defer set("rapid.nofailfile", "true")()
	if cmdline.Lookup("rapid.seed").Value.String() == "0" { // else somebody wants that life again
		defer set("rapid.seed", strconv.FormatUint(seed, 10))()
		defer set("rapid.checks", strconv.Itoa(count))()
	}
	defer watch(report)()
	began := time.Now()
	rapid.Check(t, func(rt *rapid.T) { live(t, rt, report) })
	took := time.Since(began)
	t.Logf("seed %d: %d lives, %d steps, %.0f days, %.0f simulated days a second",
		seed, report.Runs, report.Steps, report.Days, report.Days/took.Seconds())
}

// watch ends the test binary when a life hangs, with its last steps: a bubble whose goroutines wait for
// each other outside of its clock stands still for ever.
func watch(report *sim.Report) (stop func()) {
	done := make(chan struct{})
	go func() {
		last, _ := report.Progress()
		for {
			select {
			case <-done:
				return
			case <-time.After(time.Minute):
			}
			steps, tail := report.Progress()
			if steps == last {
				panic("a life hangs:\n" + tail)
			}
			last = steps
		}
	}()
	return func() { close(done) }
}

// many is so many lives, or a few where each takes long.
func many(lives int) int {
	if thorough {
		return lives
	}
	return max(1, lives/30)
}

func TestLives(t *testing.T) { //nolint:paralleltest // names come from a global source that the seed fills
	report := sim.NewReport()
	lives(t, 1, many(150), report) // enough for each planted fault
	table, _ := report.Table()
	t.Log("what these lives reached:\n" + table)
}

func TestNewLivesAreTheSameAgainFromTheSameSeed(t *testing.T) { //nolint:paralleltest // names come from a global source that the seed fills
	seed := uint64(time.Now().UnixNano())
	first, again := sim.NewReport(), sim.NewReport()
	first.Keep, again.Keep = true, true
	lives(t, seed, many(50), first)
	lives(t, seed, many(20), again)
	require.NotEmpty(t, again.Histories)
	for i := range again.Histories {
		require.Equal(t, first.Histories[i], again.Histories[i], "life %d of seed %d", i, seed)
	}
}

// TestSimulate lives lives for SIM_SECONDS, and tells how it goes. It is what make simulate runs.
func TestSimulate(t *testing.T) { //nolint:paralleltest // names come from a global source that the seed fills
	seconds, _ := strconv.Atoi(os.Getenv("SIM_SECONDS"))
	if seconds == 0 {
		t.Skip("SIM_SECONDS says for how long")
	}
	seed, _ := strconv.ParseUint(os.Getenv("SIM_SEED"), 10, 64)
	if seed == 0 {
		seed = uint64(time.Now().Unix())
	}
	const batch = 50
	report := sim.NewReport()
	for began := time.Now(); time.Since(began) < time.Duration(seconds)*time.Second; seed += batch * batch {
		lives(t, seed, batch, report)
		took := time.Since(began).Seconds()
		fmt.Printf("%5.0f s  seed %d  %d lives  %d steps  %.0f simulated days  %.0f days a second\n",
			took, seed, report.Runs, report.Steps, report.Days, report.Days/took)
	}
	table, empty := report.Table()
	fmt.Print(table)
	if len(empty) > 0 {
		t.Errorf("%d things were never reached: %q", len(empty), empty)
	}
}
