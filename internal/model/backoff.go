// SPDX-License-Identifier: MPL-2.0

package model

import "time"

// Waiting times between attempts begin at the first and double up to the last.
const (
	FirstBackOff = time.Minute
	MaxBackOff   = 6 * time.Hour
)

// backOff is how long to wait after so many attempts: doubling from a minute to six hours, jittered.
func backOff(attempts int, jitter Jitter) time.Duration {
	wait := min(FirstBackOff<<min(attempts, 10), MaxBackOff)
	return wait/2 + jitter(wait/2)
}
