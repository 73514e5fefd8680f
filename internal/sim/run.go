// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/test/bufconn"

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
	plan        Plan
	draws       *draws
	spec        Spec
	startEngine Start
	report      *Report
	// drawn are the conditions of the seed. conditions are those that the plan does not leave out.
	drawn, conditions conditions

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
	cas                     certificates
	neighbor                *neighbor // or nil
	lateWork                lateWork
	lags                    *storageTime   // how late the standby learns of writes
	late                    sync.WaitGroup // writes that the standby will learn of
	saved                   *savedState
	vault                   vault
	// stillUsed holds the tokens that consumers keep using without reading again. It maps the token ID to the
	// secret.
	stillUsed map[string]string

	operations     []*operation
	operationCount int
	trouble        time.Time // when something last delayed the engine
	lastTick       time.Time // when the leader's last tick began
	down           bool      // Modal is down
	weakAdmin      bool      // the admin token may not manage service users
	copies         int       // service users that copies of the mount created
	boots          uint64
	creating       atomic.Int64 // running creates and rotations
	revoking       atomic.Int64 // running operations that may revoke tokens
	readers        map[string]*reader
	oracle         *oracle

	// mu guards the fields that engines reach from their own goroutines: the ones below, operations, skews and
	// standby.
	mu         sync.Mutex
	stepNumber int
	history    []line
	failure    *Failure

	parts    []string // the parts of steps so far
	part     int      // of the current step
	cleanups []func()
}

// Simulate executes one run inside a synctest bubble. It returns nil if the engine keeps all promises.
func Simulate(plan Plan, start Start, spec Spec, report *Report, log io.Writer) *Failure {
	time.Sleep(time.Until(FirstDay))
	run := &Run{
		plan: plan, draws: newDraws(plan.Seed), spec: spec, startEngine: start, report: report, log: log,
		disk: newDisk(), listeners: map[string]*bufconn.Listener{}, skews: map[string]time.Duration{},
		readers: map[string]*reader{}, stillUsed: map[string]string{},
	}
	run.lags = &storageTime{seed: mix(plan.Seed), seen: map[string]uint64{}}
	report.started(run)
	run.drawn = drawConditions(run)
	run.conditions = run.drawn.without(plan.Without)
	run.logf("seed %d, conditions: %s", plan.Seed, run.conditions)
	run.live()
	run.report.finished(run, time.Since(FirstDay))
	return run.result()
}

// live executes the run until its end, or until the first broken promise.
func (run *Run) live() {
	defer func() {
		switch p := recover().(type) {
		case nil, runEnds:
		default:
			run.broken("panic: %v\n%s", p, debug.Stack())
		}
		for _, cleanup := range slices.Backward(run.cleanups) {
			cleanup()
		}
	}()
	run.oracle = newOracle(run)
	run.disk.onWritten = run.onWritten
	run.modal = run.serve(modalAddress)
	if run.conditions.Secure {
		run.otherModal = run.serve(otherAddress, modaltest.WithTLS())
		run.cas = newCertificates(run.otherModal)
	} else {
		run.otherModal = run.serve(otherAddress)
	}
	run.modals = modals{run.modal, run.otherModal}
	run.modal.OnCall(run.delayCall)
	for _, s := range run.modals {
		s.OnAnswer(func(call modaltest.Call) { run.logDeletion(s, call) })
	}
	run.cleanups = append(run.cleanups, run.end)
	run.workspace = run.modal.AddWorkspace(home)
	run.workspace.AddEnvironment("staging")
	run.owner, run.colleague = run.workspace.AddMember("alice"), run.workspace.AddMember("bob")
	run.otherWorkspaceOwner = run.modal.AddWorkspace("initech").AddMember("mallory")
	run.otherModalOwner = run.otherModal.AddWorkspace("globex").AddMember("eve")
	run.makeLeader("A")
	run.resetConfig()
	if run.conditions.Neighbor {
		run.startNeighbor()
	}
	steps := 1 + run.roll("steps", longestRun)
	for number := 1; number <= steps; number++ {
		if run.plan.takes(number) {
			run.begin(number)
			run.step()
			run.check()
		}
	}
	run.begin(lastStep)
	run.settle()
}

// longestRun is the number of steps of the longest run. The average run has half of them.
const longestRun = 60

// lastStep is the number of the end of a run, which no plan leaves out.
const lastStep = 1 << 30

// begin begins a step.
func (run *Run) begin(step int) {
	run.mu.Lock()
	run.stepNumber = step
	run.mu.Unlock()
	run.part = 0
	run.draws.begin(step)
}

// leavesOut begins a part of a step, and reports whether the plan leaves it out.
func (run *Run) leavesOut() bool {
	run.part++
	name := fmt.Sprintf("%d.%d", run.stepNumber, run.part)
	if run.stepNumber == lastStep || run.stepNumber == noStep {
		return false
	}
	if run.plan.leavesOut(name) {
		return true
	}
	run.parts = append(run.parts, name)
	return false
}

// result returns the failure of the run, or nil.
func (run *Run) result() *Failure {
	run.mu.Lock()
	defer run.mu.Unlock()
	if run.failure == nil {
		return nil
	}
	f := run.failure
	f.parts, f.history, f.conditions = run.parts, run.history, run.conditions.names()
	f.Plan.Seed = run.plan.Seed
	f.others = run.oracle.others
	for step := 1; step <= longestRun && step <= run.stepNumber; step++ {
		if run.plan.takes(step) {
			f.Plan.Steps = append(f.Plan.Steps, step)
		}
	}
	if len(f.Plan.Steps) == 0 {
		f.Plan.Steps = []int{noStep}
	}
	for _, name := range run.plan.Without {
		step, _, isPart := strings.Cut(name, ".")
		if number, _ := strconv.Atoi(step); !isPart || slices.Contains(f.Plan.Steps, number) {
			f.Plan.Without = append(f.Plan.Without, name)
		}
	}
	return f
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
	run.late.Wait()
}

const day = 24 * time.Hour
