// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"context"
	"sync"
	"time"
)

const (
	// Day has 24 hours.
	Day = 24 * time.Hour
	// UnfinishedAfter is the age at which the engine deletes the service user of an unfinished creation.
	UnfinishedAfter = 10 * time.Minute
	// MaxBackOff is the longest wait between two attempts.
	MaxBackOff = 6 * time.Hour
)

// StartTime is the time at which the clock of every test begins. The clock moves only when the test advances it.
var StartTime = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// FakeClock is a clock that moves only when a test advances it.
type FakeClock struct {
	mu sync.Mutex
	At time.Time
}

// Now returns the time of the clock.
func (c *FakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.At
}

// Advance moves the clock.
func (c *FakeClock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.At = c.At.Add(d)
}

// Sleep advances the clock instead of waiting.
func (c *FakeClock) Sleep(ctx context.Context, d time.Duration) error {
	c.Advance(d)
	return ctx.Err()
}
