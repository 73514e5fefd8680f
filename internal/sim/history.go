// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"strings"
	"time"
)

// logf adds a line to the history, with the virtual time.
func (run *Run) logf(format string, args ...any) {
	at := time.Since(FirstDay)
	line := fmt.Sprintf("%4dd %02d:%02d:%012.9f ", at/day, at%day/time.Hour, at%time.Hour/time.Minute, (at%time.Minute).Seconds()) + fmt.Sprintf(format, args...)
	run.mu.Lock()
	defer run.mu.Unlock()
	run.history = append(run.history, line)
	run.rt.Logf("%s", line)
}

// ofRole says which role a revocation or a token belongs to.
func ofRole(role string) string {
	if role == "" {
		return "of no role"
	}
	return "of role " + role
}

func (run *Run) tail(lines int) string {
	run.mu.Lock()
	defer run.mu.Unlock()
	return strings.Join(run.history[max(0, len(run.history)-lines):], "\n")
}

// broken records a broken promise. The first one counts.
func (run *Run) broken(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	run.logf("BROKEN: %s", text)
	run.mu.Lock()
	defer run.mu.Unlock()
	if run.wrong == "" {
		run.wrong = text
	}
}

// fail records a broken promise and ends the run.
func (run *Run) fail(format string, args ...any) {
	run.broken(format, args...)
	run.rt.Fatalf("%s", run.wrong)
}

// check checks all promises now.
func (run *Run) check() {
	run.oracle.check()
	run.mu.Lock()
	wrong := run.wrong
	run.mu.Unlock()
	if wrong != "" {
		run.rt.Fatalf("%s", wrong)
	}
}
