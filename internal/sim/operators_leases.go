// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// jobs is the name that dynamic roles have nearly always, so that there are leases in most lives.
const jobs = "jobs"

// dynamicPolicy is what an operator may write of a dynamic role.
func (l *Life) dynamicPolicy() Policy {
	p := Policy{}
	if roll(l.rt, "environments", 3) == 2 {
		p.EnvironmentRoles = ptr([]string{"main=viewer", "main=contributor,staging=viewer", "staging=contributor", "nowhere=viewer"}[roll(l.rt, "environment_roles", 4)])
	}
	if roll(l.rt, "ttl", 2) == 1 {
		p.LeaseTTL = ptr(l.duration("lease ttl", time.Hour, 10*time.Minute, 6*time.Hour))
	}
	if roll(l.rt, "max", 2) == 1 {
		p.MaxTTL = ptr(l.duration("max_ttl", day, 2*time.Hour, 30*time.Minute, 2*day))
	}
	if roll(l.rt, "limit", 2) == 1 {
		p.MaxLeases = ptr([]int{2, 1, 4, 0}[roll(l.rt, "max_leases", 4)])
	}
	if roll(l.rt, "scoped", 8) == 7 {
		p.Scoped = ptr(roll(l.rt, "scope", 2) == 0)
	}
	return p
}

func (l *Life) createDynamic() {
	role := jobs
	if roll(l.rt, "another name", 6) == 5 {
		role = l.newRole()
	}
	p := l.dynamicPolicy()
	p.Type = ptr("dynamic")
	if p.EnvironmentRoles == nil {
		p.EnvironmentRoles = ptr("main=contributor")
	}
	l.cutsHere(2)
	l.note("create dynamic role %s: %s", role, p)
	l.write("create dynamic", role, p)
}

// aDynamicRole is one that there is, which may be made for the purpose; empty where there is none.
func (l *Life) aDynamicRole() string {
	t := l.disk.truth()
	if !slices.ContainsFunc(t.names(), func(name string) bool { return t.roles[name].Dynamic != nil }) {
		l.createDynamic()
		l.check()
	}
	t = l.disk.truth()
	dynamic := slices.DeleteFunc(t.names(), func(name string) bool { return t.roles[name].Dynamic == nil })
	if len(dynamic) == 0 {
		return ""
	}
	return dynamic[roll(l.rt, "dynamic role", len(dynamic))]
}

// readLeases has jobs read a dynamic role, one or a few.
func (l *Life) readLeases() {
	role := l.aDynamicRole()
	if role == "" {
		return
	}
	times := []int{1, 1, 2, 5}[roll(l.rt, "jobs", 4)]
	l.cutsHere(4)
	for range times {
		l.readLease(role)
		l.check()
	}
}

// readLease reads a dynamic role. The answer may be lost after the token was made: then nobody ever ends
// the lease.
func (l *Life) readLease(role string) {
	dies := l.climate.Crashes && l.climate.Often > 0 && roll(l.rt, "dies before Vault keeps it", 8) == 7
	l.note("read a lease of role %s", role)
	op := &operation{what: "read lease", role: role}
	began, calls := time.Now(), l.callsFromNow()
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		lease, err := e.NewLease(ctx, role)
		l.judge(op, calls)
		if before := l.before(op); isMistake(err) && before != nil && before.isFull(role) {
			l.report.seen("max_leases refuses a lease")
		}
		if err != nil || lease == nil {
			return err
		}
		if dies {
			op.node.handle.kill()
			op.node.handle.died()
		}
		if ctx.Err() != nil || !l.leads(op.node) {
			l.report.seen("a lease's answer is lost")
			return nil //nolint:nilerr // whoever asked does not hear of it
		}
		k := &kept{Lease: lease, issued: time.Now(), ends: time.Now().Add(lease.TTL)}
		l.oracle.leased(k, l.before(op), began)
		l.vault.keep(k)
		return nil
	}))
}

// aLease is one that Vault keeps and is not ending.
func (l *Life) aLease() *kept {
	leases := l.vault.running(time.Now())
	if len(leases) == 0 {
		return nil
	}
	return leases[roll(l.rt, "lease", len(leases))]
}

// narrowRole has an operator take rights from a dynamic role whose leases run, and then the jobs renew their leases.
func (l *Life) narrowRole() {
	role := l.aDynamicRole()
	if role == "" {
		return
	}
	wide := Policy{EnvironmentRoles: ptr("main=contributor,staging=contributor")}
	if roll(l.rt, "unscoped", 4) == 3 {
		wide.Scoped = ptr(false)
	}
	l.note("widen role %s: %s", role, wide)
	l.write("write role", role, wide)
	l.readLease(role)
	l.check()
	p := Policy{EnvironmentRoles: ptr([]string{"main=viewer", "staging=viewer"}[roll(l.rt, "environment_roles", 2)])}
	if roll(l.rt, "scoped", 4) == 3 {
		p = Policy{Scoped: ptr(true)}
	}
	l.cutsHere(4)
	if l.climate.ModalFails && l.climate.Often > 0 && roll(l.rt, "narrowing fails", 2) == 1 {
		fault := modaltest.Fault{Code: l.code(passing), Message: "a fault", Times: 1 + roll(l.rt, "times", 6)}
		l.note("  weather: %d × EnvironmentRoleSet: %s", fault.Times, fault.Code)
		l.modal.Inject("EnvironmentRoleSet", fault)
	}
	l.note("narrow role %s: %s", role, p)
	l.write("write role", role, p)
	l.check()
	for _, k := range l.vault.running(time.Now()) {
		if k.Role == role {
			l.renew(k)
			l.check()
		}
	}
}

func (l *Life) renewLease() {
	if k := l.aLease(); k != nil {
		l.renew(k)
	}
}

func (l *Life) renew(k *kept) {
	increment := l.duration("increment", 0, time.Hour, 30*day)
	l.note("renew the lease of token %s of role %s by %s", k.ID, k.Role, increment)
	op := &operation{what: "renew lease", role: k.Role, stays: true}
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		ttl, err := e.Renew(ctx, k.Lease, k.issued, increment)
		if now := time.Now(); err == nil && l.leads(op.node) && l.vault.renew(k, now, now.Add(ttl)) {
			l.oracle.renewed(k, l.before(op))
		}
		if before := l.before(op); isMistake(err) && before != nil && before.hasRunning(k.ID) {
			l.report.seen("a lease that may do too much is not renewed")
		}
		return err
	}))
}

func (l *Life) revokeLease() {
	k := l.aLease()
	if k == nil {
		return
	}
	l.note("somebody revokes the lease of token %s of role %s", k.ID, k.Role)
	l.report.seen("somebody revokes a lease")
	l.vault.endNow(k, time.Now())
	l.endLease(k)
}
