// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Plan says which run to simulate. The seed determines the whole run. A shorter run leaves things out.
type Plan struct {
	Seed uint64
	// Steps are the steps to take. An empty list means all steps of the seed.
	Steps []int
	// Without names parts of steps, such as "7.2", and conditions, such as "Clocks", to leave out.
	Without []string
}

// String formats the plan as ParsePlan reads it.
func (p Plan) String() string {
	text := fmt.Sprintf("seed=%d", p.Seed)
	var steps []string
	for _, step := range p.Steps {
		steps = append(steps, strconv.Itoa(step))
	}
	if len(steps) > 0 {
		text += " steps=" + strings.Join(steps, ",")
	}
	if len(p.Without) > 0 {
		text += " without=" + strings.Join(p.Without, ",")
	}
	return text
}

// ParsePlan reads the plan of a run, as a failure prints it.
func ParsePlan(text string) (Plan, error) {
	var p Plan
	for word := range strings.FieldsSeq(text) {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch name {
		case "seed":
			p.Seed, err = strconv.ParseUint(value, 10, 64)
		case "steps":
			for step := range strings.SplitSeq(value, ",") {
				var number int
				if number, err = strconv.Atoi(step); err != nil {
					break
				}
				p.Steps = append(p.Steps, number)
			}
		case "without":
			p.Without = strings.Split(value, ",")
		default:
			err = fmt.Errorf("unknown word %q", name)
		}
		if err != nil {
			return p, fmt.Errorf("the plan %q cannot be read: %w", text, err)
		}
	}
	return p, nil
}

// takes reports whether the plan takes a step.
func (p Plan) takes(step int) bool { return len(p.Steps) == 0 || slices.Contains(p.Steps, step) }

func (p Plan) leavesOut(what string) bool { return slices.Contains(p.Without, what) }

// noStep is the number of the time before the first step, and the only step of a plan that takes no step.
const noStep = 0
