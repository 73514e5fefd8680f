// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"reflect"
	"strings"

	"pgregory.net/rapid"
)

// climate is drawn once for a life: which troubles it knows at all, and how often they come. A life with
// all troubles at once would never leave one of them on for long.
type conditions struct {
	ModalFails   bool // calls fail before Modal did the work
	AnswersLost  bool // and after
	Throttled    bool
	Slow         bool // answers take seconds, or longer than the engine waits
	DoneLate     bool // Modal does what was asked minutes after the engine stopped waiting
	Outages      bool // Modal is down for hours
	LateToLearn  bool // new tokens are refused, deleted ones accepted, for a while
	NotYetKnown  bool // a new service user cannot be found by its name
	StorageFails bool
	Crashes      bool
	Leaders      bool // the other node takes over
	Standby      bool // a second node reads
	Clocks       bool // nodes' clocks are off by hours
	Snapshots    bool
	Servers      bool // the mount is pointed at another Modal, and back
	AdminTrouble bool // the admin token loses its rights
	Persons      bool // somebody deletes things at Modal by hand
	Overlap      bool // operations run beside each other
	CallersLeave bool
	// Often is how many of a hundred steps meet a fault.
	Often int
}

// Without turns troubles off, as those whose fault is known and not mended.
type Without []string

func drawConditions(rt *rapid.T, without Without) conditions {
	var c conditions
	v := reflect.ValueOf(&c).Elem()
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.Type.Kind() != reflect.Bool {
			continue
		}
		// Drawn before it is looked at, so that the rest of a life does not move with what is turned off.
		on := roll(rt, field.Name, 8) >= 5
		for _, name := range without {
			on = on && name != field.Name
		}
		v.Field(i).SetBool(on)
	}
	c.Often = []int{0, 10, 25, 50}[roll(rt, "Often", 4)]
	return c
}

// calm says that nothing in it makes an operation fail.
func (c conditions) faultFree() bool {
	quiet := c
	quiet.Standby, quiet.Overlap, quiet.Servers, quiet.Clocks = false, false, false, false
	if c.Often == 0 { // no weather
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

// dice are even throws. Rapid's own numbers prefer the small ones, which would make the end of every
// list rare.
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

// roll is a number below n, the smallest where a life is shrunk.
func roll(rt *rapid.T, what string, n int) int { return dice.Draw(rt, what) * n >> rollBits }
