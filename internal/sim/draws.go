// SPDX-License-Identifier: MPL-2.0

package sim

import "hash/fnv"

// draws are the random decisions of one run. A draw depends on the seed, the step, the name of the draw, and how
// often the step drew that name before. So if a shorter run leaves out a step or a part of a step, all other draws
// stay the same.
type draws struct {
	seed uint64
	step int
	seen map[string]uint64
}

func newDraws(seed uint64) *draws { return &draws{seed: seed, seen: map[string]uint64{}} }

// begin starts the draws of a step.
func (d *draws) begin(step int) {
	d.step = step
	clear(d.seen)
}

// draw returns an evenly distributed number.
func (d *draws) draw(what string) uint64 {
	name := fnv.New64a()
	_, _ = name.Write([]byte(what))
	number := d.seen[what]
	d.seen[what]++
	return mix(mix(mix(d.seed)+uint64(d.step)) + name.Sum64() + number*golden) //nolint:gosec // a step is not negative
}

const golden = 0x9e3779b97f4a7c15

// mix is the finalizer of SplitMix64. It turns numbers that are close to each other into unrelated numbers.
func mix(z uint64) uint64 {
	z += golden
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// roll draws a number below n.
func (run *Run) roll(what string, n int) int {
	return int(run.draws.draw(what) >> 32 * uint64(n) >> 32) //nolint:gosec // n is positive and small
}
