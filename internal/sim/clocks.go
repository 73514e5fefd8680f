// SPDX-License-Identifier: MPL-2.0

package sim

import "time"

func (run *Run) skew(name string) time.Duration {
	run.mu.Lock()
	defer run.mu.Unlock()
	return run.skews[name]
}

// setSkew sets a node's clock.
func (run *Run) setSkew(name string, skew time.Duration) {
	run.mu.Lock()
	defer run.mu.Unlock()
	run.skews[name] = skew
	run.minSkew, run.maxSkew = min(run.minSkew, skew), max(run.maxSkew, skew)
}

// doubt is how far the clocks of this life were ever apart.
func (run *Run) clockSpread() time.Duration {
	run.mu.Lock()
	defer run.mu.Unlock()
	return run.maxSkew - run.minSkew
}
