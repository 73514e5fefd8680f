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

// Report counts the situations that runs reached. Each kind of situation is a cell.
type Report struct {
	mu    sync.Mutex
	cells map[string]int
	// counted grows with each operation of a run.
	counted int

	Runs, Steps int
	// Days is simulated time. A time.Duration would overflow after three centuries.
	Days float64
	// Histories are the logs of all runs, if Keep is set.
	Keep      bool
	Histories []string
	// last is the current run, for a watchdog.
	last *Run
}

// NewReport returns an empty report.
func NewReport() *Report { return &Report{cells: map[string]int{}} }

func (r *Report) count(cell string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cells[cell]++
	r.counted++
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
		r.Histories = append(r.Histories, run.tail(len(run.history)))
	}
}

// Progress returns a count that grows with each operation of a run, and the end of the run's history.
func (r *Report) Progress() (count int, last string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil {
		return r.counted, "no run has started"
	}
	return r.counted, r.last.tail(40)
}

// Expected lists the cells that a long run must reach. A cell with zero hits is a blind spot.
func Expected() []string {
	var cells []string
	for _, a := range actions {
		cells = append(cells, "step: "+a.name)
	}
	for _, what := range []string{"create managed", "create static", "write role", "rotate managed", "rotate static", "undo", "delete role", "retry", "forget", "write config", "create empty", "begin approval", "cancel approval", "rotate admin", "create dynamic", "read lease", "renew lease", "verify", "end orphans", "accept orphans"} {
		cells = append(cells, what+": done")
		if what != "renew lease" { // a renewal only reads storage
			cells = append(cells, what+": failed")
		}
		if what != "delete role" && what != "cancel approval" { // no request of these can be wrong
			cells = append(cells, what+": refused")
		}
	}
	cells = append(cells, "read approval: done", "end lease: done", "end lease: failed", "pause: done", "list orphans: done", "dry run of orphans: done",
		"end orphans: there are some", "accept orphans: there are some", "dry run of orphans: there are some",
		"the mount is out of sync: tick", "the mount is out of sync: end lease", "the mount is out of sync: read lease",
		"the mount is paused: tick", "the mount is paused: end lease", "the mount is paused: read lease",
		"verify answers accepted", "verify answers rejected", "verify answers roles_differ", "a used previous token lives longer",
		"the answer with a lease is lost", "a lease is narrowed", "a lease keeps rights that its role lost", "a lease with too many rights is not renewed", "vault gives up on a lease", "somebody revokes a lease", "max_leases refuses a lease",
		"repaired: (rejected)", "repaired: (roles differ)", "the engine learns a changed expiry")
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
	for _, kind := range []string{"current", "previous", "lease", "admin", "orphan", "unknown"} {
		cells = append(cells, "lookup answers "+kind)
	}
	for _, what := range []string{"a token ends", "a role rotates", "a role's token is verified", "the admin token is verified", "an approval ends"} {
		cells = append(cells, "on time: "+what)
	}
	cells = append(cells, "lookup: done", "status: done", "a read warns", "a ttl is shorter than the refresh interval", "a service user is named after its reader")
	for _, state := range []string{"done", "refused", "lapsed", "cancelled"} {
		cells = append(cells, "an approval is "+state, "an admin's approval is "+state)
	}
	for _, how := range []string{"the right person", "another user", "in another workspace", "not a manager", "at the other server"} {
		cells = append(cells, "a person approves: "+how)
	}
	for _, code := range []codes.Code{codes.OK, codes.NotFound, codes.PermissionDenied, codes.Unimplemented, codes.Unauthenticated, codes.Unavailable} {
		cells = append(cells, "TokenDelete answers "+code.String())
	}
	return append(cells,
		"leader change while an approval waits", "killed while an approval waits",
		"killed while an approved token becomes current",
		"a person denies", "a member's token is disabled", "a member's token is enabled", "modal: TokenDelete without a content type",
		"config/rotate replaces", "an admin token deleted itself", "a role's member token deleted itself",
		"an unused approved token deleted itself", "the current token deleted an earlier token", "the admin token deleted a member token by force",
		"too many previous tokens are refused", "a write repairs changed environment roles", "another server with its admin token",
		"a token arrives after its approval has ended", "a verified token displaces an unverified one", "a token of the pinned workspace",
		"an operator supplies a service user's token", "force accepts a token that a mount created",
		"a standby's answer may be out of date", "an operator revokes an irrevocable lease", "a rotation within its window",
		"storage: one key fails: cred", "storage: one key fails: role", "storage: one key fails: revocation", "storage: one key fails: config",
		"a standby is asked: rotate", "a standby is asked: tick",
		"storage: read fails", "read: done", "read during an operation", "storage: a former leader's write fails",
		"neighbor: it rotates", "a CA is changed", "leader change", "leader change during an operation", "a former leader keeps working",
		"caller left", "operations at the same time", "restored", "read by a standby")
}

// Table returns the coverage, and the expected cells that stayed empty.
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
