// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"hash/fnv"
	"math/rand/v2"
	"sync"
	"time"
)

// node is one process of the mount.
type node struct {
	name    string
	engine  Engine
	handle  *handle
	network *network
	started time.Time
	ctx     context.Context //nolint:containedctx // it lives as long as the process
	cancel  context.CancelFunc
}

// startNode starts a new process on a node.
func (run *Run) startNode(name string, h *handle, standby bool) *node {
	h.time = run.newStorageTime()
	n := &node{name: name, handle: h, started: time.Now(), network: &network{listeners: run.listeners}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	h.died = func() {
		run.logf("  the process of %s dies", name)
		n.cancel()
		n.network.disconnect()
	}
	engine, err := run.startEngine(n.ctx, run.depsOf(n, standby))
	if err != nil {
		run.fail("the engine does not start: %v", err)
	}
	n.engine = engine
	return n
}

// depsOf returns the dependencies of the engine in a process.
func (run *Run) depsOf(n *node, standby bool) Deps {
	run.boots++
	random := &random{rand: rand.New(rand.NewPCG(run.plan.Seed, run.boots))} //nolint:gosec // a simulation needs no secure randomness
	return Deps{
		Storage: n.handle, Standby: standby, Mount: mountUUID, Log: run.log, Event: run.oracle.eventSent, Dial: n.network.dial,
		// A node's clock can jump and go back. A bubble's clock cannot.
		Now: func() time.Time { return time.Now().Round(0).Add(run.skew(n.name)) },
		Sleep: func(ctx context.Context, d time.Duration) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		Stagger: func(job string) { time.Sleep(turn(job)) },
		Random:  random.draw,
	}
}

// lastTurn is the longest delay of a job. It is short beside a call to Modal.
const lastTurn = 4 * time.Millisecond

// turn returns how long a job waits before it begins, always the same for a name. So no two jobs run at the same instant.
func turn(job string) time.Duration {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(job)) // never fails
	return time.Duration(hash.Sum64() % uint64(lastTurn))
}

// random is one process's source of random numbers. Draws of a dying process must not change the next process.
type random struct {
	mu   sync.Mutex
	rand *rand.Rand
}

func (u *random) draw() float64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.rand.Float64()
}

func (n *node) stop() {
	n.cancel()
	n.engine.Stop()
}

// makeLeader starts a new process on a node and makes it the leader. The process before keeps working but cannot
// write any more.
func (run *Run) makeLeader(name string) {
	if run.former != nil {
		run.former.stop()
	}
	run.former, run.lastTick = run.leader, time.Time{}
	if old := run.setStandby(nil); old != nil {
		old.stop()
	}
	run.leader = run.startNode(name, run.disk.newLeader(name, run.report.count), false)
	run.vault.resetAttempts()
	if run.conditions.Standby {
		run.setStandby(run.startNode(otherNode(name), run.disk.newStandby(otherNode(name), run.report.count), true))
	}
}

// setStandby sets the standby and returns the standby before it.
func (run *Run) setStandby(n *node) (before *node) {
	run.mu.Lock()
	defer run.mu.Unlock()
	before, run.standby = run.standby, n
	return before
}

func otherNode(name string) string {
	if name == "A" {
		return "B"
	}
	return "A"
}

// onWritten is called for each write that took effect.
func (run *Run) onWritten(key string, before, after []byte, requested bool) {
	run.oracle.stored(key, before, after)
	run.mu.Lock()
	if !requested {
		for _, beside := range run.operations {
			beside.before = nil
		}
	}
	standby := run.standby
	run.mu.Unlock()
	if standby != nil {
		run.invalidate(standby, key)
	}
}

// countDuringApproval counts an event at a process while a person may approve a token, or has just done so.
func (run *Run) countDuringApproval(what string) {
	for _, a := range run.disk.truth().approvals {
		if a.Open && a.TokenID == "" {
			run.report.count(what + " while an approval waits")
		} else if a.Open {
			run.report.count(what + " while an approved token becomes current")
		}
	}
}

// restartDeadNode replaces a process that died by a new one, as Vault's service manager does.
func (run *Run) restartDeadNode() {
	if !run.leader.handle.isDead() {
		return
	}
	run.countDuringApproval("killed")
	run.leader.engine.Stop()
	run.leader = nil
	name := "A"
	if run.conditions.Leaders && run.roll("who follows", 2) == 1 {
		name = "B"
	}
	run.logf("  %s starts", name)
	run.makeLeader(name)
}
