// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"reflect"
	"strings"

	"pgregory.net/rapid"
)

// conditions decide which faults and disturbances can happen in a run, and how often. They are drawn once per run.
// A run with all of them at once would never keep one fault for long.
type conditions struct {
	ModalFails   bool // calls fail before Modal does the work
	AnswersLost  bool // calls fail after Modal did the work
	Throttled    bool
	Slow         bool // answers take seconds, or longer than the engine waits for them
	DoneLate     bool // Modal does the work minutes after the engine stopped waiting
	Outages      bool // Modal is down for hours
	LateToLearn  bool // for a while Modal rejects new tokens and accepts deleted ones
	NotYetKnown  bool // Modal does not find a new service user by its name
	StorageFails bool
	Crashes      bool
	Leaders      bool // the other node takes over
	Standby      bool // a second node reads
	Clocks       bool // the nodes' clocks are wrong by hours
	Snapshots    bool
	Servers      bool // config switches to another Modal server and back
	AdminTrouble bool // the admin token loses its rights
	Persons      bool // people delete and change things at Modal by hand
	Overlap      bool // operations run at the same time
	CallersLeave bool
	// Often is the number of steps per hundred that get a fault.
	Often int
}

// Without turns conditions off by name, for example while a known fault is not fixed.
type Without []string

func drawConditions(rt *rapid.T, without Without) conditions {
	var c conditions
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Type.Kind() != reflect.Bool {
			continue
		}
		// The draw comes before the check, so that switching a condition off does not change the rest of the run.
		on := roll(rt, field.Name, 8) >= 5
		for _, name := range without {
			on = on && name != field.Name
		}
		v.Field(i).SetBool(on)
	}
	c.Often = []int{0, 10, 25, 50}[roll(rt, "Often", 4)]
	return c
}

// faultFree reports whether no condition can make an operation fail.
func (c conditions) faultFree() bool {
	quiet := c
	quiet.Standby, quiet.Overlap, quiet.Servers, quiet.Clocks = false, false, false, false
	if c.Often == 0 { // no step gets a fault
		quiet.DoneLate, quiet.ModalFails, quiet.AnswersLost, quiet.Throttled, quiet.Slow, quiet.LateToLearn, quiet.NotYetKnown, quiet.StorageFails = false, false, false, false, false, false, false, false
	}
	quiet.Often = 0
	return quiet == conditions{}
}

func (c conditions) String() string {
	var on []string
	v := reflect.ValueOf(c)
	for i := range v.NumField() {
		if v.Field(i).Kind() == reflect.Bool && v.Field(i).Bool() {
			on = append(on, v.Type().Field(i).Name)
		}
	}
	return fmt.Sprintf("%s, faults in %d of 100 steps", strings.Join(on, " "), c.Often)
}

const rollBits = 10

// dice are evenly distributed. Rapid's own integers prefer small values, so the ends of lists would be rare.
var dice = rapid.Custom(func(t *rapid.T) int {
	v := 0
	for range rollBits {
		v <<= 1
		if rapid.Bool().Draw(t, "bit") {
			v |= 1
		}
	}
	return v
})

// roll draws a number below n. Rapid shrinks it towards 0.
func roll(rt *rapid.T, what string, n int) int { return dice.Draw(rt, what) * n >> rollBits }
