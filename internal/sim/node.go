// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// node is one process of the mount.
type node struct {
	name   string
	engine Engine
	handle *handle
	wire   *wire
	ctx    context.Context //nolint:containedctx // the life of the process
	cancel context.CancelFunc
}

// boot starts a process of a node.
func (l *Life) boot(name string, h *handle, standby bool) *node {
	l.boots++
	luck := &luck{rand: rand.New(rand.NewPCG(l.luck, l.boots))} //nolint:gosec // the luck of a simulation
	n := &node{name: name, handle: h, wire: &wire{lines: l.lines}}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	h.died = func() {
		l.note("  the process of %s dies", name)
		n.cancel()
		n.wire.sever()
	}
	engine, err := l.start(n.ctx, World{
		Storage: h, Standby: standby, Mount: mountUUID, Log: l.log, Dial: n.wire.dial,
		// A node's clock jumps and goes back, which a bubble's does not.
		Now: func() time.Time { return time.Now().Round(0).Add(l.skew(name)) },
		Sleep: func(ctx context.Context, d time.Duration) error {
			select {
			case <-time.After(d):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		},
		// No two jobs of a tick begin at one instant.
		Stagger: func(i int) { time.Sleep(time.Duration(i)) },
		Random:  luck.draw,
	})
	if err != nil {
		l.fail("an engine does not start: %v", err)
	}
	n.engine = engine
	return n
}

// luck is a process's own: how often one that ends still draws is not the next one's business.
type luck struct {
	mu   sync.Mutex
	rand *rand.Rand
}

func (u *luck) draw() float64 {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.rand.Float64()
}

func (n *node) stop() {
	n.cancel()
	n.engine.Stop()
}

// lead makes a node the leader, with a new process. The one before works on, but can write no more.
func (l *Life) lead(name string) {
	if l.former != nil {
		l.former.stop()
	}
	l.former = l.leader
	if old := l.reads(nil); old != nil {
		old.stop()
	}
	l.leader = l.boot(name, l.disk.promote(name, l.report.seen), false)
	if l.climate.Standby {
		l.reads(l.boot(other(name), l.disk.observe(other(name), l.report.seen), true))
	}
}

// reads sets the standby and returns the one before.
func (l *Life) reads(n *node) (before *node) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, l.standby = l.standby, n
	return before
}

func other(name string) string {
	if name == "A" {
		return "B"
	}
	return "A"
}

// wrote is called for each write that took effect.
func (l *Life) wrote(key string, before, after []byte, asked bool) {
	l.oracle.wrote(key, before, after)
	l.mu.Lock()
	if !asked {
		for _, beside := range l.operations {
			beside.alone = nil
		}
	}
	standby := l.standby
	l.mu.Unlock()
	if standby != nil {
		standby.engine.Invalidate(standby.ctx, key)
	}
}

// amidApproval counts what happens to a process while somebody may approve a token, or has just done so.
func (l *Life) amidApproval(what string) {
	for _, a := range l.disk.truth().approvals {
		if a.Open && a.TokenID == "" {
			l.report.seen(what + " while an approval waits")
		} else if a.Open {
			l.report.seen(what + " while an approved token is brought into use")
		}
	}
}

// bury follows a process that died by another one, as Vault's service manager does.
func (l *Life) bury() {
	if !l.leader.handle.isDead() {
		return
	}
	l.amidApproval("killed")
	l.leader.engine.Stop()
	l.leader = nil
	name := "A"
	if l.climate.Leaders && roll(l.rt, "who follows", 2) == 1 {
		name = "B"
	}
	l.note("  %s starts", name)
	l.lead(name)
}
