// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
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
	SlowStorage  bool // storage takes time, so that requests at one node meet
	Crashes      bool
	Leaders      bool // the other node takes over
	Standby      bool // a second node reads
	// LateInvalidation: the standby learns of writes up to longestLag late.
	LateInvalidation bool
	// ListLags: Modal's list of service users is minutes old.
	ListLags     bool
	Clocks       bool // the nodes' clocks are wrong by hours
	Snapshots    bool
	Servers      bool // config switches to another Modal server and back
	Secure       bool // the other server speaks TLS with a certificate of a private CA
	AdminTrouble bool // the admin token loses its rights
	Persons      bool // people delete and change things at Modal by hand
	Neighbor     bool // another mount of the engine runs in the same process and workspace
	Overlap      bool // operations run at the same time
	CallersLeave bool
	// Often is the number of steps per hundred that get a fault.
	Often int
}

func drawConditions(run *Run) conditions {
	var c conditions
	for _, name := range conditionNames() {
		c.set(name, run.roll(name, 8) >= 5)
	}
	c.Neighbor = c.Neighbor && run.roll("a neighbor", 3) == 0   // its calls take time
	c.Secure = c.Secure && c.Servers && run.roll("TLS", 2) == 0 // handshakes take time
	c.Overlap = c.Overlap || c.SlowStorage                      // otherwise no requests meet
	c.Often = []int{0, 10, 25, 50}[run.roll("Often", 4)]
	return c
}

func (c *conditions) set(name string, on bool) {
	reflect.ValueOf(c).Elem().FieldByName(name).SetBool(on)
}

// conditionNames returns the names of all conditions.
func conditionNames() []string {
	var names []string
	for field := range reflect.TypeFor[conditions]().Fields() {
		if field.Type.Kind() == reflect.Bool {
			names = append(names, field.Name)
		}
	}
	return names
}

// names returns the names of the conditions that are on.
func (c conditions) names() []string {
	return slices.DeleteFunc(conditionNames(), func(name string) bool { return !reflect.ValueOf(c).FieldByName(name).Bool() })
}

// without returns the conditions with some of them off.
func (c conditions) without(off []string) conditions {
	for _, name := range conditionNames() {
		if slices.Contains(off, name) {
			c.set(name, false)
		}
	}
	return c
}

// faultFree reports whether no condition can make an operation fail.
func (c conditions) faultFree() bool {
	quiet := c
	quiet.Standby, quiet.Overlap, quiet.Servers, quiet.Clocks, quiet.SlowStorage, quiet.LateInvalidation, quiet.Neighbor, quiet.Secure = false, false, false, false, false, false, false, false
	if c.Often == 0 { // no step gets a fault
		quiet.DoneLate, quiet.ModalFails, quiet.AnswersLost, quiet.Throttled, quiet.Slow, quiet.LateToLearn, quiet.NotYetKnown, quiet.StorageFails, quiet.ListLags = false, false, false, false, false, false, false, false, false
	}
	quiet.Often = 0
	return quiet == conditions{}
}

func (c conditions) String() string {
	return fmt.Sprintf("%s, faults in %d of 100 steps", strings.Join(c.names(), " "), c.Often)
}
