// SPDX-License-Identifier: MPL-2.0

package sim

import "time"

func (l *Life) skew(name string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.skews[name]
}

// setSkew sets a node's clock.
func (l *Life) setSkew(name string, skew time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.skews[name] = skew
	l.least, l.most = min(l.least, skew), max(l.most, skew)
}

// doubt is how far the clocks of this life were ever apart.
func (l *Life) doubt() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.most - l.least
}
