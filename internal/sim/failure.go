// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Failure is a broken promise, with the run that broke it.
type Failure struct {
	// Plan repeats the run. It names only steps that the run reached.
	Plan Plan
	// Promise identifies the promise. Two runs that break it have the same Promise.
	Promise string
	// Text says what happened.
	Text string

	conditions []string
	parts      []string // the parts of steps that the run did
	history    []line
	// others maps each token to its service user and back.
	others map[string]string
}

// Lines returns the length of the history.
func (f *Failure) Lines() int { return len(f.history) }

// identifier matches the IDs and names of one token, service user or flow.
var identifier = regexp.MustCompile(`\b(ak|su|tf)-[A-Za-z0-9]+\b|\bvault-[0-9a-f]{8}-[a-z0-9_-]+`)

// subjects returns the tokens that the broken promise is about, and their service users.
func (f *Failure) subjects() []string {
	found := map[string]bool{}
	for _, id := range identifier.FindAllString(f.Text, -1) {
		found[id] = true
		if other := f.others[id]; other != "" {
			found[other] = true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// String explains the failure: the broken promise, the steps that belong to it, and the history of the run.
func (f *Failure) String() string {
	subjects := f.subjects()
	about := func(l line) bool {
		return slices.ContainsFunc(subjects, func(id string) bool { return strings.Contains(l.text, id) })
	}
	var steps []string
	for _, l := range f.history {
		if step := stepName(l.step); about(l) && !slices.Contains(steps, step) {
			steps = append(steps, step)
		}
	}
	var b strings.Builder
	fmt.Fprintf(&b, "BROKEN: %s\n", f.Text)
	if len(steps) > 0 {
		fmt.Fprintf(&b, "The lines marked with > are about %s, in these steps: %s.\n", strings.Join(subjects, " and "), strings.Join(steps, ", "))
	}
	fmt.Fprintf(&b, "\nstep   virtual time\n")
	for _, l := range f.history {
		mark := " "
		if about(l) {
			mark = ">"
		}
		fmt.Fprintf(&b, "%4s %s %s  %s\n", stepName(l.step), mark, l.at.Format(time.DateTime), l.text)
	}
	return b.String()
}

// stepName names a step in a report.
func stepName(step int) string {
	switch step {
	case noStep:
		return "-"
	case lastStep:
		return "end"
	}
	return strconv.Itoa(step)
}
