// SPDX-License-Identifier: MPL-2.0

package model

import (
	"time"
)

// ClockSlack is how far the clocks of two nodes may differ. A time further ahead is taken for wrong.
const ClockSlack = Day

// Later returns the later of two times.
func Later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// Day is 24 hours.
const Day = 24 * time.Hour

// Jitter returns a random part of a duration, and zero for a duration of zero or less. Callers pass it in, so that
// the rules in this package have no randomness of their own.
type Jitter func(most time.Duration) time.Duration

// Earlier returns the earlier of two times.
func Earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

// WholeSeconds returns a time as it is stored: in UTC and whole seconds.
func WholeSeconds(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Second)
}
