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
	// when says which climates know it, nil for all.
	when func(c climate) bool
	do   func(l *Life)
}

// actions are all of them, the plainest first. A list and no map: its order is part of what a seed means.
var actions []action

func init() { //nolint:gochecknoinits // the actions use the list themselves
	actions = []action{
		{"time passes", 30, nil, (*Life).timePasses},
		{"create a managed role", 11, nil, (*Life).createManaged},
		{"create a dynamic role", 3, nil, (*Life).createDynamic},
		{"read a lease", 10, nil, (*Life).readLeases},
		{"renew a lease", 4, nil, (*Life).renewLease},
		{"revoke a lease", 3, nil, (*Life).revokeLease},
		{"narrow a dynamic role", 5, nil, (*Life).narrowRole},
		{"verify", 4, nil, (*Life).verify},
		{"orphans", 4, nil, (*Life).orphans},
		{"pause or go on", 3, nil, (*Life).pauseMount},
		{"somebody goes on with an earlier token", 3, nil, (*Life).useEarlier},
		{"create a static role", 5, nil, (*Life).createStatic},
		{"create a role without a token", 3, nil, (*Life).createEmpty},
		{"begin an approval", 9, nil, (*Life).beginApproval},
		{"somebody decides", 5, nil, (*Life).decide},
		{"cancel an approval", 3, nil, (*Life).cancelApproval},
		{"read an approval", 2, nil, (*Life).readApproval},
		{"rotate the admin token", 4, nil, (*Life).rotateAdmin},
		{"rotate", 14, nil, (*Life).rotate},
		{"undo", 6, nil, (*Life).undo},
		{"a crowd", 1, nil, (*Life).crowd},
		{"write a role", 7, nil, (*Life).writeRole},
		{"delete a role", 7, nil, (*Life).deleteRole},
		{"retry", 6, nil, (*Life).retry},
		{"forget", 4, nil, (*Life).forget},
		{"write config", 6, nil, (*Life).writeConfig},
		{"somebody deletes at Modal", 4, func(c climate) bool { return c.Persons }, (*Life).person},
		{"somebody disables or enables a token", 4, func(c climate) bool { return c.Persons }, (*Life).toggle},
		{"somebody changes roles at Modal", 9, func(c climate) bool { return c.Persons }, (*Life).drift},
		{"somebody changes when a token expires", 4, func(c climate) bool { return c.Persons }, (*Life).changeExpiry},
		{"the admin's rights change", 4, func(c climate) bool { return c.AdminTrouble }, (*Life).adminTrouble},
		{"Modal goes down or comes back", 4, func(c climate) bool { return c.Outages }, (*Life).outage},
		{"another node leads", 6, func(c climate) bool { return c.Leaders }, (*Life).changeLeader},
		{"a deposed node works on", 5, func(c climate) bool { return c.Leaders }, (*Life).deposedWorks},
		{"the process is killed", 3, func(c climate) bool { return c.Crashes }, (*Life).crash},
		{"a clock jumps", 10, func(c climate) bool { return c.Clocks }, (*Life).clockJumps},
		{"a clock is set right after a minting", 6, func(c climate) bool { return c.Clocks && c.DoneLate && c.Often > 0 }, (*Life).setRight},
		{"snapshot", 3, func(c climate) bool { return c.Snapshots }, (*Life).snapshot},
		{"restore", 3, func(c climate) bool { return c.Snapshots }, (*Life).restore},
		{"a copy of the mount mints", 4, func(c climate) bool { return c.Snapshots }, (*Life).copyMints},
	}
}

// step is one action, met by the weather of the day.
func (l *Life) step() {
	total := 0
	for _, a := range actions {
		if a.when == nil || a.when(l.climate) {
			total += a.weight
		}
	}
	l.weather()
	at := roll(l.rt, "action", total)
	for _, a := range actions {
		if a.when != nil && !a.when(l.climate) {
			continue
		}
		if at -= a.weight; at < 0 {
			l.report.seen("step: " + a.name)
			l.report.stepped()
			a.do(l)
			return
		}
	}
}

// timePasses lets Vault tick for a while, minute by minute or after pauses, as when it was sealed.
func (l *Life) timePasses() {
	every := []time.Duration{time.Minute, 10 * time.Minute, time.Hour, 6 * time.Hour, day, 20 * day}[roll(l.rt, "every", 6)]
	times := 1 + roll(l.rt, "times", 12)
	if every > day {
		times = 1
	}
	l.declinesHere(true)
	l.note("time passes: %d × %s", times, every)
	for range times {
		l.pass(every)
	}
}

// pass is a while that passes, and what then happens by itself.
func (l *Life) pass(every time.Duration) {
	time.Sleep(every)
	l.endLeases()
	l.use()
	l.tick(l.leader)
	l.check()
	l.readAll()
}

func (l *Life) tick(n *node) {
	op := &operation{what: "tick", node: n}
	calls := l.callsFromNow()
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		err := e.Tick(ctx)
		l.judge(op, calls)
		return err
	}))
}

// callsFromNow are those that reach Modal from now on.
func (l *Life) callsFromNow() func() []modaltest.Call {
	before := l.modal.CallCount()
	return func() []modaltest.Call { return l.modal.CallsFrom(before) }
}

// judge holds what a node did by itself to what it may, where nothing else went on.
func (l *Life) judge(op *operation, calls func() []modaltest.Call) {
	if before := l.before(op); before != nil && l.leads(op.node) {
		l.oracle.byItself(op.what, before, calls())
	}
}

func (l *Life) outage() {
	down := roll(l.rt, "down", 2) == 1
	l.note("Modal's outage: %t", down)
	l.modal.SetOutage(down)
	if down {
		l.report.seen("modal: outage")
	}
}

// changeLeader may come in the middle of an operation: what was begun goes on at the node that no longer
// leads.
func (l *Life) changeLeader() {
	l.report.seen("leader change")
	l.amidApproval("leader change")
	for _, op := range l.running() {
		if op.node == l.leader && op.what != "tick" {
			l.report.seen("leader change in the middle of an operation")
			break
		}
	}
	name := other(l.leader.name)
	clean := roll(l.rt, "clean", 2) == 0
	l.note("%s leads, clean: %t", name, clean)
	if clean {
		l.leader.cancel()
	}
	l.lead(name)
}

// deposedWorks has the worker of a node that no longer leads run once more.
func (l *Life) deposedWorks() {
	if l.former == nil || l.former.handle.isDead() || l.former.ctx.Err() != nil {
		return
	}
	l.note("%s works on, deposed", l.former.name)
	l.report.seen("a deposed node works on")
	l.tick(l.former)
}

func (l *Life) crash() {
	l.note("the process of %s is killed", l.leader.name)
	l.leader.handle.kill()
	l.leader.handle.died()
	l.calmDown()
}

func (l *Life) clockJumps() {
	name := []string{"A", "B"}[roll(l.rt, "whose", 2)]
	skew := []time.Duration{0, time.Hour, -time.Hour, 7 * time.Hour, -7 * time.Hour, 30 * time.Second, 40 * day, 40 * day}[roll(l.rt, "by", 8)]
	l.note("the clock of %s is off by %s", name, skew)
	l.setSkew(name, skew)
}

// setRight lets a node whose clock is behind mint what Modal makes minutes later, and sets its clock right.
func (l *Life) setRight() {
	name := l.leader.name
	l.note("the clock of %s is off by %s, and set right after a minting", name, -7*time.Hour)
	l.setSkew(name, -7*time.Hour)
	l.setLate(lateness{method: "ServiceUserCreate", by: 4 * time.Minute, times: 1})
	l.turn("rotate managed", l.anyRole(), Rotation{})
	l.setLate(lateness{})
	l.setSkew(name, 0)
	for range 6 {
		time.Sleep(time.Minute)
		l.tick(l.leader)
		l.check()
	}
}

func (l *Life) snapshot() {
	l.note("snapshot")
	l.saved = &saved{l.disk.snapshot(), l.vault.snapshot()}
}

// saved is a snapshot: the mount's storage, and Vault's own.
type saved struct {
	data   map[string][]byte
	leases []kept
}

// downtime is how long a restore takes: Modal is done by then with what was asked before.
const downtime = 10 * time.Minute

// restore puts an old storage under a new process, as Vault does after a snapshot was restored.
func (l *Life) restore() {
	if role := l.anyRole(); l.disk.truth().roles[role].Managed != nil && roll(l.rt, "right after a rotation", 2) == 1 {
		l.turn("rotate managed", role, Rotation{Grace: ptr(time.Hour)})
		l.snapshot()
		l.turn("rotate managed", role, Rotation{Grace: ptr(time.Hour)})
		l.pass(time.Hour)
	}
	if l.saved == nil {
		return
	}
	l.note("the snapshot is restored")
	l.report.seen("restored")
	l.leader.stop()
	if l.former != nil {
		l.former.stop()
	}
	l.quiet()
	if l.leader.handle.isDead() {
		l.leader = nil
	}
	l.former = nil
	time.Sleep(downtime)
	l.disk.restore(l.saved.data)
	l.vault.restore(l.saved.leases)
	l.oracle.restored()
	l.lead("A")
	if roll(l.rt, "an operator looks", 2) == 1 {
		l.pass(time.Hour)
		l.orphans()
	}
}

func (l *Life) adminTrouble() {
	role := []string{"owner", "user", "manager"}[roll(l.rt, "role", 3)]
	l.note("alice is %s", role)
	l.owner.SetRole(roleOf(role))
}
