// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// action is one kind of step.
type action struct {
	name   string
	weight int
	// when reports whether the action is possible under the run's conditions. Nil means always.
	when func(c conditions) bool
	do   func(run *Run)
}

// actions are all actions, the simplest first. They are a list and not a map, because their order is part of a
// seed's meaning.
var actions []action

func init() { //nolint:gochecknoinits // the actions refer to this list
	actions = []action{
		{"time passes", 30, nil, (*Run).timePasses},
		{"create a managed role", 11, nil, (*Run).createManaged},
		{"create a dynamic role", 3, nil, (*Run).createDynamic},
		{"read a lease", 10, nil, (*Run).readLeases},
		{"renew a lease", 4, nil, (*Run).renewLease},
		{"revoke a lease", 3, nil, (*Run).revokeLease},
		{"narrow a dynamic role", 5, nil, (*Run).narrowRole},
		{"verify", 4, nil, (*Run).verify},
		{"look up a token", 3, nil, (*Run).lookUp},
		{"read status", 2, nil, (*Run).readStatus},
		{"orphans", 4, nil, (*Run).orphans},
		{"pause or resume", 3, nil, (*Run).togglePause},
		{"a consumer keeps using a previous token", 3, nil, (*Run).usePrevious},
		{"create a static role", 5, nil, (*Run).createStatic},
		{"create a role without a token", 3, nil, (*Run).createWithoutToken},
		{"begin an approval", 9, nil, (*Run).beginApproval},
		{"a person decides on an approval", 5, nil, (*Run).decide},
		{"cancel an approval", 3, nil, (*Run).cancelApproval},
		{"read an approval", 2, nil, (*Run).readApproval},
		{"rotate the admin token", 4, nil, (*Run).rotateAdmin},
		{"rotate", 14, nil, (*Run).rotate},
		{"undo", 6, nil, (*Run).undo},
		{"rotate too often", 1, nil, (*Run).rotateTooOften},
		{"write a role", 7, nil, (*Run).writeRole},
		{"delete a role", 7, nil, (*Run).deleteRole},
		{"retry", 6, nil, (*Run).retry},
		{"forget", 4, nil, (*Run).forget},
		{"write config", 6, nil, (*Run).writeConfig},
		{"somebody deletes at Modal", 4, func(c conditions) bool { return c.Persons }, (*Run).deleteAnyByHand},
		{"somebody disables or enables a token", 4, func(c conditions) bool { return c.Persons }, (*Run).toggleToken},
		{"somebody changes roles at Modal", 9, func(c conditions) bool { return c.Persons }, (*Run).changeRolesByHand},
		{"somebody changes when a token expires", 4, func(c conditions) bool { return c.Persons }, (*Run).changeExpiry},
		{"the admin token's rights change", 4, func(c conditions) bool { return c.AdminTrouble }, (*Run).adminTrouble},
		{"Modal goes down or comes back", 4, func(c conditions) bool { return c.Outages }, (*Run).outage},
		{"another node becomes leader", 6, func(c conditions) bool { return c.Leaders }, (*Run).changeLeader},
		{"a former leader keeps working", 5, func(c conditions) bool { return c.Leaders }, (*Run).formerLeaderTicks},
		{"the process is killed", 3, func(c conditions) bool { return c.Crashes }, (*Run).crash},
		{"a clock jumps", 10, func(c conditions) bool { return c.Clocks }, (*Run).clockJumps},
		{"a clock is corrected after a creation", 6, func(c conditions) bool { return c.Clocks && c.DoneLate && c.Often > 0 }, (*Run).correctClock},
		{"snapshot", 3, func(c conditions) bool { return c.Snapshots }, (*Run).snapshot},
		{"a standby is asked to write", 4, func(c conditions) bool { return c.Standby }, (*Run).askStandby},
		{"an operator revokes irrevocable leases", 3, nil, (*Run).revokeIrrevocable},
		{"an operator changes the CA", 9, func(c conditions) bool { return c.Secure }, (*Run).changeCA},
		{"requests meet", 12, func(c conditions) bool { return c.SlowStorage }, (*Run).meet},
		{"restore", 3, func(c conditions) bool { return c.Snapshots }, (*Run).restore},
		{"a copy of the mount creates a token", 4, func(c conditions) bool { return c.Snapshots }, (*Run).copyCreates},
	}
}

// step draws faults and then one action.
func (run *Run) step() {
	total := 0
	for _, a := range actions {
		if a.when == nil || a.when(run.drawn) {
			total += a.weight
		}
	}
	run.injectFaults()
	at := run.roll("action", total)
	for _, a := range actions {
		if a.when != nil && !a.when(run.drawn) {
			continue
		}
		if at -= a.weight; at < 0 {
			if a.when != nil && !a.when(run.conditions) {
				return // the plan leaves out the action's condition
			}
			run.report.count("step: " + a.name)
			run.report.stepped()
			a.do(run)
			return
		}
	}
}

// timePasses lets Vault tick for a while: each minute, or after pauses, as after Vault was sealed.
func (run *Run) timePasses() {
	every := []time.Duration{time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, day, 20 * day}[run.roll("every", 6)]
	times := 1 + run.roll("times", 12)
	if every > day {
		times = 1
	}
	run.maybeFailTokenDelete(true)
	run.logf("time passes, with a tick each %s", every)
	for range times {
		run.passTime(every)
	}
}

// passTime lets time pass, then does what happens by itself after it.
func (run *Run) passTime(every time.Duration) {
	if run.leavesOut() {
		return
	}
	time.Sleep(every)
	run.endDueLeases()
	run.useStillUsed()
	before, began := run.disk.truth(), time.Now()
	run.tick(run.leader)
	run.checkLateness(before, began)
	run.neighborTicks()
	run.check()
	run.readAll()
}

func (run *Run) tick(n *node) {
	op := &operation{what: "tick", node: n}
	calls := run.recordCalls()
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		err := e.Tick(ctx)
		run.checkBackgroundCalls(op, calls)
		return err
	}))
}

// recordCalls returns a function that lists the calls that reach Modal from now on.
func (run *Run) recordCalls() func() []modaltest.Call {
	before := run.modal.CallCount()
	return func() []modaltest.Call { return run.modal.CallsFrom(before) }
}

// checkBackgroundCalls checks the calls that a node made by itself, if nothing else happened.
func (run *Run) checkBackgroundCalls(op *operation, calls func() []modaltest.Call) {
	if before := run.storageBefore(op); before != nil && run.leads(op.node) {
		run.oracle.checkBackgroundCalls(op.what, before, calls())
	}
}

func (run *Run) outage() {
	down := run.roll("down", 2) == 1
	run.down = down
	run.logf("Modal's outage: %t", down)
	run.modal.SetOutage(down)
	if down {
		run.report.count("modal: outage")
	}
}

// changeLeader may happen during an operation. The operation then continues at the former leader.
func (run *Run) changeLeader() {
	run.report.count("leader change")
	run.countDuringApproval("leader change")
	for _, op := range run.running() {
		if op.node == run.leader && op.what != "tick" {
			run.report.count("leader change during an operation")
			break
		}
	}
	name := otherNode(run.leader.name)
	clean := run.roll("clean", 2) == 0
	run.logf("%s leads, clean: %t", name, clean)
	if clean {
		run.leader.cancel()
	}
	run.makeLeader(name)
}

// formerLeaderTicks runs the worker of a former leader once more.
func (run *Run) formerLeaderTicks() {
	if run.former == nil || run.former.handle.isDead() || run.former.ctx.Err() != nil {
		return
	}
	run.logf("%s keeps working after it lost the lead", run.former.name)
	run.report.count("a former leader keeps working")
	run.tick(run.former)
}

func (run *Run) crash() {
	run.logf("the process of %s is killed", run.leader.name)
	run.leader.handle.kill()
	run.leader.handle.died()
	run.waitForEffects()
}

func (run *Run) clockJumps() {
	name := []string{"A", "B"}[run.roll("whose", 2)]
	skew := []time.Duration{0, time.Hour, -time.Hour, 7 * time.Hour, -7 * time.Hour, 30 * time.Second, 40 * day, 40 * day}[run.roll("by", 8)]
	run.logf("the clock of %s is off by %s", name, skew)
	run.setSkew(name, skew)
}

// correctClock lets a node with a slow clock create a service user that Modal makes minutes later, and corrects the
// clock meanwhile.
func (run *Run) correctClock() {
	name := run.leader.name
	run.logf("the clock of %s is off by %s until after a creation", name, -7*time.Hour)
	run.setSkew(name, -7*time.Hour)
	run.setLateWork(lateWork{method: "ServiceUserCreate", by: 4 * time.Minute, times: 1})
	run.rotateRole("rotate managed", run.roleOf("managed"), Rotation{})
	run.setLateWork(lateWork{})
	run.setSkew(name, 0)
	for range 6 {
		time.Sleep(time.Minute)
		run.tick(run.leader)
		run.check()
	}
}

func (run *Run) snapshot() {
	run.logf("snapshot")
	run.saved = &savedState{run.disk.snapshot(), run.vault.snapshot()}
}

// savedState is a snapshot of the mount's storage and of Vault's leases.
type savedState struct {
	data   map[string][]byte
	leases []vaultLease
}

// downtime is how long a restore takes. By then Modal has done all work that was asked before.
const downtime = 10 * time.Minute

// restore starts a new process with old storage, as Vault does after a snapshot was restored.
func (run *Run) restore() {
	if role := run.roleOf("managed"); run.disk.truth().roles[role].Managed != nil && (run.saved == nil || run.roll("right after a rotation", 2) == 1) {
		run.rotateRole("rotate managed", role, Rotation{Grace: ptr(time.Hour)})
		run.snapshot()
		run.rotateRole("rotate managed", role, Rotation{Grace: ptr(time.Hour)})
		run.passTime(time.Hour)
	}
	if run.saved == nil {
		return
	}
	run.logf("the snapshot is restored")
	run.report.count("restored")
	run.leader.stop()
	if run.former != nil {
		run.former.stop()
	}
	run.waitForAll()
	if run.leader.handle.isDead() {
		run.leader = nil
	}
	run.former = nil
	time.Sleep(downtime)
	run.disk.restore(run.saved.data)
	run.vault.restore(run.saved.leases)
	run.vault.forgetIrrevocable()
	run.oracle.snapshotRestored()
	run.noteTrouble()
	run.makeLeader("A")
	if run.roll("an operator looks", 2) == 1 {
		run.passTime(time.Hour)
		run.orphans()
	}
}

func (run *Run) adminTrouble() {
	role := []string{"owner", "user", "manager"}[run.roll("role", 3)]
	run.logf("alice is %s", role)
	run.weakAdmin = role == "user"
	run.owner.SetRole(roleOf(role))
}
