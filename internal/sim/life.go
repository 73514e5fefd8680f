// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/test/bufconn"
	"pgregory.net/rapid"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// FirstDay is when every life begins. A bubble begins in the year 2000.
var FirstDay = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	mountUUID = "2f9f1a7c-0000-4000-8000-000000000001"
	prefix    = "vault-2f9f1a7c-"
	home      = "acme" // the workspace

	hereAddress      = "127.0.0.1:9900"
	elsewhereAddress = "127.0.0.1:9901"

	// An operation that takes longer than this in virtual time hangs.
	patience = 10 * time.Minute
	// latency is how long Modal thinks about a call in lives whose operations overlap.
	latency = 70 * time.Millisecond
)

// Life is one mount from its first day on.
type Life struct {
	rt      *rapid.T
	spec    Spec
	start   Start
	report  *Report
	climate climate

	disk             *disk
	modal, elsewhere *modaltest.Server
	modals           modals
	stranger, rival  *modaltest.Member // an owner elsewhere, and one of another workspace
	lines            map[string]*bufconn.Listener
	workspace        *modaltest.Workspace
	owner, colleague *modaltest.Member
	log              io.Writer

	leader, former, standby *node
	skews                   map[string]time.Duration
	least, most             time.Duration // of all skews so far
	late                    lateness
	saved                   *saved
	vault                   vault
	// goesOn are those who never read again: the secrets of their tokens by ID.
	goesOn map[string]string

	operations  []*operation
	begun       int
	minted      int // by copies of the mount
	luck, boots uint64
	minting     atomic.Int64 // operators' creates and rotations under way
	ending      atomic.Int64 // what may end tokens under way
	readers     map[string]*reader
	oracle      *oracle

	// mu guards what engines reach from their own goroutines: operations, skews and standby too.
	mu      sync.Mutex
	history []string
	wrong   string
}

// Live lives one life inside a bubble, and fails rt when a promise is broken.
func Live(rt *rapid.T, start Start, spec Spec, without Without, report *Report, log io.Writer) {
	time.Sleep(time.Until(FirstDay))
	l := &Life{
		rt: rt, spec: spec, start: start, report: report, log: log,
		disk: newDisk(), lines: map[string]*bufconn.Listener{}, skews: map[string]time.Duration{},
		readers: map[string]*reader{}, goesOn: map[string]string{},
		luck: uint64(roll(rt, "luck", 1<<rollBits)), //nolint:gosec // a roll is not negative
	}
	report.began(l)
	l.climate = drawClimate(rt, without)
	l.note("climate: %s", l.climate)
	l.oracle = newOracle(l)
	l.disk.wrote = l.wrote
	l.modal, l.elsewhere = l.serve(hereAddress), l.serve(elsewhereAddress)
	l.modals = modals{l.modal, l.elsewhere}
	l.modal.OnCall(l.think)
	rt.Cleanup(l.end)
	l.workspace = l.modal.AddWorkspace(home)
	l.workspace.AddEnvironment("staging")
	l.owner, l.colleague = l.workspace.AddMember("alice"), l.workspace.AddMember("bob")
	l.rival = l.modal.AddWorkspace("initech").AddMember("mallory")
	l.stranger = l.elsewhere.AddWorkspace("globex").AddMember("eve")
	l.lead("A")
	l.configure()
	rt.Repeat(map[string]func(*rapid.T){
		"step": func(*rapid.T) { l.step() },
		"":     func(*rapid.T) { l.check() },
	})
	l.settle()
}

// end stops every process, so that no goroutine outlives the bubble.
func (l *Life) end() {
	for _, n := range []*node{l.leader, l.former, l.standby} {
		if n != nil {
			n.wire.sever()
			n.stop()
		}
	}
	for _, op := range l.running() {
		<-op.done
	}
	l.report.ended(l, time.Since(FirstDay))
}

const day = 24 * time.Hour
