// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
)

// Report counts what lives reached.
type Report struct {
	mu    sync.Mutex
	cells map[string]int

	Runs, Steps int
	// Days are of the lives' own time: a duration would run over after three centuries.
	Days float64
	// Histories are what the lives wrote down, where they are kept.
	Keep      bool
	Histories []string
	// last is the life that is being lived, for a watchdog.
	last *Run
}

// NewReport is an empty one.
func NewReport() *Report { return &Report{cells: map[string]int{}} }

func (r *Report) count(cell string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cells[cell]++
}

func (r *Report) started(run *Run) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.last = run
}

func (r *Report) stepped() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Steps++
}

func (r *Report) finished(run *Run, lasted time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.Runs++
	r.Days += lasted.Hours() / 24
	if r.Keep {
		r.Histories = append(r.Histories, strings.Join(run.history, "\n"))
	}
}

// Pulse moves whenever a life goes on.
func (r *Report) Progress() (steps int, last string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		return r.Steps, "no life has begun"
	}
	return r.Steps + r.Runs, r.last.tail(40)
}

// Expected are the cells that a long run must reach: a zero is a blind spot.
func Expected() []string {
	var cells []string
	for _, a := range actions {
		cells = append(cells, "step: "+a.name)
	}
	for _, what := range []string{"create managed", "create static", "write role", "rotate managed", "rotate static", "undo", "delete role", "retry", "forget", "write config", "create empty", "begin approval", "cancel approval", "rotate admin", "create dynamic", "read lease", "renew lease", "verify", "end orphans", "accept orphans"} {
		cells = append(cells, what+": done")
		if what != "renew lease" { // storage alone is asked
			cells = append(cells, what+": failed")
		}
		if what != "delete role" && what != "cancel approval" { // there is nothing to get wrong
			cells = append(cells, what+": mistake")
		}
	}
	cells = append(cells, "read approval: done", "end lease: done", "end lease: failed", "pause: done", "list orphans: done", "dry run of orphans: done",
		"end orphans: there are some", "accept orphans: there are some", "dry run of orphans: there are some",
		"the mount is out of sync: tick", "the mount is out of sync: end lease", "the mount is out of sync: read lease",
		"the mount is paused: tick", "the mount is paused: end lease", "the mount is paused: read lease",
		"verify answers accepted", "verify answers refused", "verify answers drifted", "a previous token is held while it is used",
		"a lease's answer is lost", "a lease is narrowed", "a lease keeps what its role lost", "a lease that may do too much is not renewed", "vault gives up on a lease", "somebody revokes a lease", "max_leases refuses a lease",
		"healed: (refused)", "healed: (drifted)", "an expiry that somebody changed is learned")
	cells = append(cells, "tick: done", "tick: failed")
	for _, kind := range faultKinds {
		cells = append(cells, "modal: "+kind.name)
	}
	for _, how := range []string{"failed", "answer lost of", "killed before", "killed after"} {
		for _, write := range []string{"put config", "put role", "put cred", "put revocation", "put token", "put approval", "delete approval", "delete role", "delete cred", "delete revocation"} {
			cells = append(cells, "cut: "+how+" "+write)
		}
	}
	for _, write := range []string{"put config", "put role", "put cred", "put revocation", "put approval", "delete role", "delete revocation"} {
		cells = append(cells, "cut: caller left before "+write, "cut: caller left after "+write)
	}
	for _, state := range []string{"done", "refused", "lapsed", "cancelled"} {
		cells = append(cells, "an approval is "+state, "an admin's approval is "+state)
	}
	for _, how := range []string{"as they should", "another user", "in another workspace", "no manager", "elsewhere"} {
		cells = append(cells, "a person approves: "+how)
	}
	for _, code := range []codes.Code{codes.OK, codes.NotFound, codes.PermissionDenied, codes.Unimplemented, codes.Unauthenticated, codes.Unavailable} {
		cells = append(cells, "TokenDelete answers "+code.String())
	}
	return append(cells,
		"leader change while an approval waits", "killed while an approval waits",
		"killed while an approved token is brought into use",
		"a person denies", "a member's token is disabled", "a member's token is enabled", "modal: TokenDelete without a content type",
		"config/rotate replaces", "an admin token ended itself", "a role's member token ended itself",
		"an approved token that nobody uses ended itself", "the current token ended an earlier one", "the admin token ended a member's by force",
		"a crowd is refused", "drift is mended by a write", "another server with its admin",
		"a token arrives after its approval has ended", "a verified token takes its ID from a role", "a token of the pinned workspace",
		"a robot's token is brought", "a token that a mount made is brought by force",
		"storage: read fails", "storage: a deposed node's write is refused",
		"leader change", "leader change in the middle of an operation", "a deposed node works on",
		"caller left", "operations beside each other", "restored", "read by a standby")
}

// Table is the coverage, and the expected cells that stayed empty.
func (r *Report) Table() (text string, empty []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var b strings.Builder
	expected := Expected()
	for _, cell := range expected {
		if r.cells[cell] == 0 {
			empty = append(empty, cell)
		}
	}
	for _, cell := range slices.Sorted(maps.Keys(r.cells)) {
		fmt.Fprintf(&b, "%8d  %s\n", r.cells[cell], cell)
	}
	for _, cell := range empty {
		fmt.Fprintf(&b, "%8d  %s\n", 0, cell)
	}
	return b.String(), empty
}
