// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"time"
)

const (
	neighborUUID = "7c1d2e3f-0000-4000-8000-000000000002"
	// neighborRole is the neighbor's role. A role of the simulated mount often has the same name.
	neighborRole = "ci"
	// neighborGrace is the grace period of that role.
	neighborGrace = time.Hour
)

// neighbor is a second mount of the engine, in the same process and the same workspace. Neither mount may touch the
// other's tokens.
type neighbor struct {
	disk   *disk
	engine Engine
	ctx    context.Context //nolint:containedctx // it lives as long as the run
	cancel context.CancelFunc
}

// startNeighbor mounts the neighbor, with an admin token of the same person.
func (run *Run) startNeighbor() {
	n := &neighbor{disk: newDisk()}
	n.ctx, n.cancel = context.WithCancel(context.Background())
	handle := n.disk.newLeader("neighbor", func(string) {})
	process := &node{name: "A", handle: handle, network: &network{listeners: run.listeners}}
	deps := run.depsOf(process, false)
	deps.Mount, deps.Event = neighborUUID, func(e Event) { run.oracle.checkEventSecrets(e) }
	var err error
	if n.engine, err = run.startEngine(n.ctx, deps); err != nil {
		run.fail("the neighbor does not start: %v", err)
	}
	run.cleanups = append(run.cleanups, func() {
		n.cancel()
		process.network.disconnect()
		n.engine.Stop()
	})
	t := run.owner.NewToken()
	run.oracle.allowAnyOwner(t.ID)
	if err = n.engine.WriteConfig(n.ctx, Config{ServerURL: ptr(run.modal.URL()), Admin: &Token{t.ID, t.Secret}}); err != nil {
		run.fail("config of the neighbor cannot be written: %v", err)
	}
	settings := RoleSettings{Type: ptr("managed"), EnvironmentRoles: ptr("main=viewer"), Period: ptr(2 * day), Grace: ptr(neighborGrace)}
	if err = n.engine.WriteRole(n.ctx, neighborRole, settings); err != nil {
		run.fail("the role of the neighbor cannot be written: %v", err)
	}
	run.neighbor = n
}

// neighborTicks runs the neighbor's worker, and lets a consumer read its role.
func (run *Run) neighborTicks() {
	n := run.neighbor
	if n == nil || len(run.running()) > 0 {
		return
	}
	if err := n.engine.Tick(n.ctx); err != nil {
		run.report.count("neighbor: tick failed")
	}
	current := n.disk.truth().current[neighborRole]
	got, err := n.engine.Read(n.ctx, neighborRole)
	if err != nil || got == nil || got.ID != current.ID || got.Secret != current.Secret {
		run.broken("the neighbor returns another token than its own %s: %v", current.ID, err)
	}
	if current.Version > 1 {
		run.report.count("neighbor: it rotates")
	}
}

// checkNeighbor expects the neighbor's token to work. The caller holds o.mu.
func (o *oracle) checkNeighbor() {
	if o.run.neighbor == nil {
		return
	}
	current := o.run.neighbor.disk.truth().current[neighborRole]
	if o.record(current.ID).excuse == "" && !o.run.modals.Accepts(current.ID, current.Secret) {
		o.run.broken("token %s of the neighbor worked before, and Modal rejects it now", current.ID)
	}
}

// checkNeighborSettled expects the neighbor to have ended its previous tokens.
func (run *Run) checkNeighborSettled() {
	if run.neighbor == nil {
		return
	}
	t := run.neighbor.disk.truth()
	if !run.modals.Accepts(t.admin.ID, t.admin.Secret) {
		return // a person deleted or disabled it
	}
	for _, revocation := range t.revocations {
		if revocation.Method == "automatic" && time.Since(revocation.NotBefore) > day {
			run.broken("after days without a fault the neighbor still has the revocation %s (%s): %s", revocation.key, revocation.Reason, revocation.LastError)
		}
	}
}
