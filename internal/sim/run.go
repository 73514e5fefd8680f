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

// FirstDay is the start time of every run. A synctest bubble starts in the year 2000.
var FirstDay = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const (
	mountUUID = "2f9f1a7c-0000-4000-8000-000000000001"
	prefix    = "vault-2f9f1a7c-"
	home      = "acme" // the mount's workspace

	modalAddress = "127.0.0.1:9900"
	otherAddress = "127.0.0.1:9901"

	// An operation that takes longer than hangLimit in virtual time hangs.
	hangLimit = 10 * time.Minute
	// latency is the time that Modal takes for each call in runs whose operations overlap.
	latency = 70 * time.Millisecond
)

// Run simulates one mount from its first day to its end.
type Run struct {
	rt          *rapid.T
	spec        Spec
	startEngine Start
	report      *Report
	conditions  conditions

	disk                                 *disk
	modal, otherModal                    *modaltest.Server
	modals                               modals
	otherModalOwner, otherWorkspaceOwner *modaltest.Member // owners at the other server, and in another workspace
	listeners                            map[string]*bufconn.Listener
	workspace                            *modaltest.Workspace
	owner, colleague                     *modaltest.Member
	log                                  io.Writer

	leader, former, standby *node
	skews                   map[string]time.Duration
	minSkew, maxSkew        time.Duration // of all clock skews so far
	lateWork                lateWork
	saved                   *savedState
	vault                   vault
	// stillUsed holds the tokens that consumers keep using without reading again. It maps the token ID to the
	// secret.
	stillUsed map[string]string

	operations     []*operation
	operationCount int
	copies         int // service users that copies of the mount created
	seed, boots    uint64
	creating       atomic.Int64 // running creates and rotations
	revoking       atomic.Int64 // running operations that may revoke tokens
	readers        map[string]*reader
	oracle         *oracle

	// mu guards the fields that engines reach from their own goroutines: the ones below, operations, skews and
	// standby.
	mu      sync.Mutex
	history []string
	wrong   string
}

// Simulate executes one run inside a synctest bubble. It fails rt if the engine breaks a promise.
func Simulate(rt *rapid.T, start Start, spec Spec, without Without, report *Report, log io.Writer) {
	time.Sleep(time.Until(FirstDay))
	run := &Run{
		rt: rt, spec: spec, startEngine: start, report: report, log: log,
		disk: newDisk(), listeners: map[string]*bufconn.Listener{}, skews: map[string]time.Duration{},
		readers: map[string]*reader{}, stillUsed: map[string]string{},
		seed: uint64(roll(rt, "seed", 1<<rollBits)), //nolint:gosec // a roll is not negative
	}
	report.started(run)
	run.conditions = drawConditions(rt, without)
	run.logf("conditions: %s", run.conditions)
	run.oracle = newOracle(run)
	run.disk.onWritten = run.onWritten
	run.modal, run.otherModal = run.serve(modalAddress), run.serve(otherAddress)
	run.modals = modals{run.modal, run.otherModal}
	run.modal.OnCall(run.delayCall)
	rt.Cleanup(run.end)
	run.workspace = run.modal.AddWorkspace(home)
	run.workspace.AddEnvironment("staging")
	run.owner, run.colleague = run.workspace.AddMember("alice"), run.workspace.AddMember("bob")
	run.otherWorkspaceOwner = run.modal.AddWorkspace("initech").AddMember("mallory")
	run.otherModalOwner = run.otherModal.AddWorkspace("globex").AddMember("eve")
	run.makeLeader("A")
	run.resetConfig()
	rt.Repeat(map[string]func(*rapid.T){
		"step": func(*rapid.T) { run.step() },
		"":     func(*rapid.T) { run.check() },
	})
	run.settle()
}

// end stops every process, so that no goroutine outlives the bubble.
func (run *Run) end() {
	for _, n := range []*node{run.leader, run.former, run.standby} {
		if n != nil {
			n.network.disconnect()
			n.stop()
		}
	}
	for _, op := range run.running() {
		<-op.done
	}
	run.report.finished(run, time.Since(FirstDay))
}

const day = 24 * time.Hour
