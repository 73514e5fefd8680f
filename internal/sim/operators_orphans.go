// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// orphans lets an operator list orphans, delete them or accept them.
func (run *Run) orphans() {
	if run.leavesOut() {
		return
	}
	orphans := run.oracle.orphans()
	if len(orphans) == 0 && run.roll("all the same", 3) > 0 {
		return
	}
	t := CleanupRequest{}
	switch run.roll("decision", 5) {
	case 0:
		run.listOrphans()
		return
	case 1:
		t.DryRun = true
	case 2:
		t.Accept = true
	}
	if len(orphans) > 0 && run.roll("some", 2) == 1 {
		t.Names = orphans[:1]
	}
	if !t.DryRun {
		run.oracle.operatorDecided(t)
	}
	run.logf("clean up orphans %q, dry run: %t, accept: %t", t.Names, t.DryRun, t.Accept)
	what := map[bool]string{true: "accept orphans", false: "end orphans"}[t.Accept]
	if t.DryRun {
		what = "dry run of orphans"
	}
	op := &operation{what: what}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		done, err := e.CleanUpOrphans(ctx, t)
		if err != nil {
			return err
		}
		run.oracle.checkCleanup(t, done, op)
		if len(done.Names) > 0 {
			run.report.count(what + ": there are some")
		}
		return nil
	}))
}

// copyCreates lets a copy of the mount create a service user, soon after a rotation of this mount. From then on
// storage may be out of date.
func (run *Run) copyCreates() {
	if role := run.roleOf("managed"); run.disk.truth().roles[role].Managed != nil {
		run.rotateRole("rotate managed", role, Rotation{Grace: ptr(time.Hour)})
	}
	run.copies++
	name := fmt.Sprintf("%scopy-%d", prefix, run.copies)
	run.logf("a copy of the mount creates %s", name)
	if _, err := run.workspace.CreateServiceUser(name); err != nil {
		run.fail("a copy of the mount cannot create %s: %v", name, err)
	}
	run.oracle.copyCreated(name)
	for range 3 {
		run.passTime(time.Hour)
	}
	if run.roll("an operator looks", 2) == 1 {
		run.orphans()
	}
}

func (run *Run) listOrphans() {
	run.logf("list orphans")
	op := &operation{what: "list orphans"}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		found, err := e.Orphans(ctx)
		if err == nil {
			run.oracle.checkOrphanList(found, op)
		}
		return err
	}))
}

// togglePause pauses the mount's own work, or resumes it.
func (run *Run) togglePause() {
	paused := !run.disk.truth().paused
	c := Config{Paused: &paused}
	run.logf("write config: %s", c)
	run.await(run.launch(&operation{what: "pause", config: &c}, func(ctx context.Context, e Engine) error { return e.WriteConfig(ctx, c) }))
}

// verify lets an operator verify a role's current token.
func (run *Run) verify() { run.verifyRole(run.roleOf("managed", "static")) }

func (run *Run) verifyRole(role string) {
	if run.leavesOut() {
		return
	}
	run.logf("verify %s", role)
	op := &operation{what: "verify", role: role}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		v, err := e.Verify(ctx, role)
		if err == nil {
			run.oracle.checkVerify(op, v)
		}
		return err
	}))
}

// usePrevious lets a consumer use a previous token for a while and never read again.
func (run *Run) usePrevious() {
	role := run.roleOf("managed")
	if policy := run.disk.truth().roles[role].Managed; policy != nil && !run.disk.truth().paused {
		if policy.Hold == 0 {
			settings := RoleSettings{HoldWhileUsed: ptr(6 * time.Hour)}
			run.writeSettings("write role", role, settings)
			run.check()
		}
		run.rotateRole("rotate managed", role, Rotation{Grace: ptr(time.Hour)})
		run.check()
	}
	revocations := slices.DeleteFunc(slices.Clone(run.disk.truth().revocations), func(rev storedRevocation) bool {
		return rev.HoldUntil.IsZero() || rev.Secret == "" || rev.Forced
	})
	if len(revocations) == 0 {
		return
	}
	revocation := revocations[run.roll("revocation", len(revocations))]
	run.logf("a consumer keeps using token %s of role %s", revocation.ID, revocation.Role)
	run.stillUsed[revocation.ID] = revocation.Secret
	for range 4 {
		run.passTime(time.Hour)
	}
}
