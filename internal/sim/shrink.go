// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"slices"
	"time"
)

// Shrink looks for a shorter run that breaks the same promise. It leaves out whole steps first, then conditions and
// parts of steps, and repeats that until nothing more can be left out, or until the budget of real time is used.
//
// Each try is a complete run of its own: draws do not depend on what other steps drew. So the shortened run is as
// real as the first one.
func Shrink(failure *Failure, budget time.Duration, simulate func(Plan) *Failure) *Failure {
	s := shrinker{best: failure, until: time.Now().Add(budget), simulate: simulate, tried: map[string]bool{}}
	for before := -1; before != s.successes && s.mayTry(); {
		before = s.successes
		s.leaveOutSteps()
		s.leaveOut(func() []string { return s.best.conditions })
		s.leaveOut(func() []string { return s.best.parts })
	}
	return s.best
}

type shrinker struct {
	best      *Failure
	until     time.Time
	simulate  func(Plan) *Failure
	tried     map[string]bool // plans, as texts
	successes int
}

func (s *shrinker) mayTry() bool { return time.Now().Before(s.until) }

// try simulates a shorter run, and keeps it if it breaks the same promise.
func (s *shrinker) try(p Plan) bool {
	text := p.String()
	if s.tried[text] || !s.mayTry() {
		return false
	}
	s.tried[text] = true
	failure := s.simulate(p)
	if failure == nil || failure.Promise != s.best.Promise {
		return false
	}
	s.best = failure
	s.successes++
	return true
}

func (s *shrinker) leaveOutSteps() {
	leaveOutMost(func() []int { return s.best.Plan.Steps }, func(steps []int) bool {
		p := s.best.Plan
		p.Steps = slices.DeleteFunc(slices.Clone(p.Steps), func(step int) bool { return slices.Contains(steps, step) })
		if len(p.Steps) == 0 {
			p.Steps = []int{noStep}
		}
		return s.try(p)
	})
}

// leaveOut leaves out conditions or parts of steps.
func (s *shrinker) leaveOut(present func() []string) {
	leaveOutMost(present, func(names []string) bool {
		p := s.best.Plan
		p.Without = append(slices.Clone(p.Without), names...)
		return s.try(p)
	})
}

// leaveOutMost is delta debugging: it tries to leave out large chunks of what is present, then smaller and smaller
// chunks, down to single items. The last items go first, because later items seldom need earlier ones to be there.
func leaveOutMost[T any](present func() []T, try func([]T) bool) {
	for size := len(present()); size > 0; size /= 2 {
		for end := len(present()); end > 0; end -= size {
			items := present()
			end = min(end, len(items))
			if end > 0 {
				try(slices.Clone(items[max(0, end-size):end]))
			}
		}
	}
}
