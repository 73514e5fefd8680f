// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"strings"
	"time"
)

// line is one line of a run's history.
type line struct {
	at   time.Time // virtual
	step int
	text string
}

// String formats the line with its exact virtual time.
func (l line) String() string { return l.at.Format("2006-01-02 15:04:05.000000000 ") + l.text }

// logf adds a line to the history.
func (run *Run) logf(format string, args ...any) {
	l := line{at: time.Now(), text: fmt.Sprintf(format, args...)}
	run.mu.Lock()
	defer run.mu.Unlock()
	l.step = run.stepNumber
	run.history = append(run.history, l)
}

// ofRole says which role a revocation or a token belongs to.
func ofRole(role string) string {
	if role == "" {
		return "of no role"
	}
	return "of role " + role
}

// tail returns the last lines of the history, with exact times.
func (run *Run) tail(lines int) string {
	run.mu.Lock()
	defer run.mu.Unlock()
	var b strings.Builder
	for _, l := range run.history[max(0, len(run.history)-lines):] {
		b.WriteString(l.String() + "\n")
	}
	return b.String()
}

// broken records a broken promise. The first one counts. The format identifies the promise.
func (run *Run) broken(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	run.logf("BROKEN: %s", text)
	run.mu.Lock()
	defer run.mu.Unlock()
	if run.failure == nil {
		run.failure = &Failure{Promise: format, Text: text}
	}
}

// fail records a broken promise and ends the run.
func (run *Run) fail(format string, args ...any) {
	run.broken(format, args...)
	panic(runEnds{})
}

// runEnds is the panic that ends a run with a broken promise.
type runEnds struct{}

// check checks all promises now. A broken promise ends the run.
func (run *Run) check() {
	run.oracle.check()
	run.mu.Lock()
	failed := run.failure != nil
	run.mu.Unlock()
	if failed {
		panic(runEnds{})
	}
}
