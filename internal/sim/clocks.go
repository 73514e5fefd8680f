// SPDX-License-Identifier: MPL-2.0

package sim

import "time"

func (run *Run) skew(name string) time.Duration {
	run.mu.Lock()
	defer run.mu.Unlock()
	return run.skews[name]
}

// setSkew sets how far a node's clock is wrong.
func (run *Run) setSkew(name string, skew time.Duration) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.skews[name] = skew
	run.minSkew, run.maxSkew = min(run.minSkew, skew), max(run.maxSkew, skew)
}

// clockSpread returns the largest difference between two clocks of this run so far.
func (run *Run) clockSpread() time.Duration {
	run.mu.Lock()
	defer run.mu.Unlock()
	return run.maxSkew - run.minSkew
}
