// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// dynamicRole is the usual name of the dynamic role, so that most runs have leases.
const dynamicRole = "jobs"

// drawDynamicSettings draws the settings that an operator writes for a dynamic role.
func (run *Run) drawDynamicSettings() RoleSettings {
	settings := RoleSettings{}
	if run.roll("environments", 3) == 2 {
		settings.EnvironmentRoles = ptr([]string{"main=viewer", "main=contributor,staging=viewer", "staging=contributor", "main=contributor", "main=viewer,staging=contributor", "nowhere=viewer"}[run.roll("environment_roles", 6)])
	}
	if run.roll("ttl", 2) == 1 {
		settings.LeaseTTL = ptr(run.drawDuration("lease ttl", time.Hour, 10*time.Minute, 6*time.Hour))
	}
	if run.roll("max", 2) == 1 {
		settings.MaxTTL = ptr(run.drawDuration("max_ttl", day, 2*time.Hour, 30*time.Minute, 2*day))
	}
	if run.roll("limit", 2) == 1 {
		settings.MaxLeases = ptr([]int{2, 1, 4, 0}[run.roll("max_leases", 4)])
	}
	if run.roll("scoped", 8) == 7 {
		settings.Scoped = ptr(run.roll("scope", 2) == 0)
	}
	if run.roll("names", 3) == 2 {
		settings.NameTemplate = ptr(nameTemplates[run.roll("service_user_name_template", len(nameTemplates))].text)
	}
	settings.Description = run.drawDescription()
	return settings
}

func (run *Run) createDynamic() {
	role := dynamicRole
	if run.roll("another name", 6) == 5 {
		role = run.newRole()
	}
	settings := run.drawDynamicSettings()
	settings.Type = ptr("dynamic")
	if settings.EnvironmentRoles == nil {
		settings.EnvironmentRoles = ptr("main=contributor")
	}
	run.maybePlanCut(2)
	run.writeSettings("create dynamic", role, settings)
}

// anyDynamicRole draws a dynamic role, and creates one if none exists. It returns "" if the creation failed.
func (run *Run) anyDynamicRole() string {
	t := run.disk.truth()
	if !slices.ContainsFunc(t.names(), func(name string) bool { return t.roles[name].Dynamic != nil }) {
		run.createDynamic()
		run.check()
	}
	t = run.disk.truth()
	dynamic := slices.DeleteFunc(t.names(), func(name string) bool { return t.roles[name].Dynamic == nil })
	if len(dynamic) == 0 {
		return ""
	}
	return dynamic[run.roll("dynamic role", len(dynamic))]
}

// readLeases lets one job or a few jobs read a dynamic role.
func (run *Run) readLeases() {
	role := run.anyDynamicRole()
	if role == "" {
		return
	}
	times := []int{1, 1, 2, 5}[run.roll("jobs", 4)]
	run.maybePlanCut(4)
	for range times {
		run.readLease(role)
		run.check()
	}
}

// readLease reads a dynamic role. The answer may be lost after the engine created the token. Then Vault never ends
// the lease.
func (run *Run) readLease(role string) {
	if run.leavesOut() {
		return
	}
	dies := run.conditions.Crashes && run.conditions.Often > 0 && run.roll("dies before Vault keeps it", 8) == 7
	run.logf("read a lease of role %s", role)
	op := &operation{what: "read lease", role: role}
	reader := displayNames[run.roll("reader", len(displayNames))]
	began, deletions, calls := time.Now(), run.oracle.deletions(role), run.recordCalls()
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		lease, err := e.NewLease(ctx, role, reader)
		run.checkBackgroundCalls(op, calls)
		if before := run.storageBefore(op); isUserError(err) && before != nil && before.isFull(role) {
			run.report.count("max_leases refuses a lease")
		}
		if err != nil || lease == nil {
			return err
		}
		if dies {
			op.node.handle.kill()
			op.node.handle.died()
		}
		if ctx.Err() != nil || !run.leads(op.node) {
			run.report.count("the answer with a lease is lost")
			return nil //nolint:nilerr // the caller does not see the answer
		}
		k := &vaultLease{Lease: lease, issued: time.Now(), ends: time.Now().Add(lease.TTL), reader: reader}
		run.oracle.leaseIssued(k, run.storageBefore(op), began, deletions)
		run.vault.add(k)
		return nil
	}))
}

// anyLease draws an active lease of Vault.
func (run *Run) anyLease() *vaultLease {
	leases := run.vault.active(time.Now())
	if len(leases) == 0 {
		return nil
	}
	return leases[run.roll("lease", len(leases))]
}

// narrowRole takes rights from a dynamic role with active leases, and then renews these leases.
func (run *Run) narrowRole() {
	role := run.anyDynamicRole()
	if role == "" {
		return
	}
	wide := RoleSettings{EnvironmentRoles: ptr("main=contributor,staging=contributor")}
	if run.roll("unscoped", 4) == 3 {
		wide.Scoped = ptr(false)
	}
	run.writeSettings("write role", role, wide)
	run.readLease(role)
	run.check()
	settings := RoleSettings{EnvironmentRoles: ptr([]string{"main=viewer", "staging=viewer"}[run.roll("environment_roles", 2)])}
	if run.roll("scoped", 4) == 3 {
		settings = RoleSettings{Scoped: ptr(true)}
	}
	run.maybePlanCut(4)
	if run.conditions.ModalFails && run.conditions.Often > 0 && run.roll("narrowing fails", 2) == 1 {
		fault := modaltest.Fault{Code: run.drawCode(transientCodes), Message: "a fault", Times: 1 + run.roll("times", 6)}
		run.logf("  fault: %d × EnvironmentRoleSet: %s", fault.Times, fault.Code)
		run.modal.Inject("EnvironmentRoleSet", fault)
	}
	run.writeSettings("write role", role, settings)
	run.check()
	for _, k := range run.vault.active(time.Now()) {
		if k.Role == role {
			run.renew(k)
			run.check()
		}
	}
}

func (run *Run) renewLease() {
	if k := run.anyLease(); k != nil {
		run.renew(k)
	}
}

func (run *Run) renew(k *vaultLease) {
	if run.leavesOut() {
		return
	}
	increment := run.drawDuration("increment", 0, time.Hour, 30*day)
	run.logf("renew the lease of token %s of role %s by %s", k.ID, k.Role, increment)
	op := &operation{what: "renew lease", role: k.Role, callerWaits: true}
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		ttl, err := e.Renew(ctx, k.Lease, k.issued, increment)
		if now := time.Now(); err == nil && run.leads(op.node) && run.vault.renew(k, now, now.Add(ttl)) {
			run.oracle.leaseRenewed(k, run.storageBefore(op))
		}
		if before := run.storageBefore(op); isUserError(err) && before != nil && before.hasActiveLease(k.ID) {
			run.report.count("a lease with too many rights is not renewed")
		}
		return err
	}))
}

func (run *Run) revokeLease() {
	k := run.anyLease()
	if k == nil {
		return
	}
	run.logf("somebody revokes the lease of token %s of role %s", k.ID, k.Role)
	run.report.count("somebody revokes a lease")
	run.vault.endNow(k, time.Now())
	run.endLease(k)
}
