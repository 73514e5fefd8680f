// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"slices"
	"sync"
	"time"
)

// revokeAttempts is how often Vault tries to revoke a lease whose end has come, and firstRetry how long it
// waits after the first failure, twice as long after each other one.
const (
	revokeAttempts = 6
	firstRetry     = 10 * time.Second
)

// vault is the part of Vault that keeps leases. It knows those alone whose answer arrived.
type vault struct {
	mu   sync.Mutex
	leases []*vaultLease
}

// kept is one lease.
type vaultLease struct {
	*Lease

	issued, ends, next time.Time
	attempts           int
	busy               bool
}

func (v *vault) add(k *vaultLease) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leases = append(v.leases, k)
}

func (v *vault) remove(k *vaultLease) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leases = slices.DeleteFunc(v.leases, func(other *vaultLease) bool { return other == k })
}

// running are the leases whose end has not come.
func (v *vault) active(now time.Time) []*vaultLease {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(v.leases), func(k *vaultLease) bool { return k.busy || !now.Before(k.ends) })
}

// renew moves a lease's end, unless that has come.
func (v *vault) renew(k *vaultLease, now, ends time.Time) (renewed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k.busy || !now.Before(k.ends) {
		return false
	}
	k.ends = ends
	return true
}

// endNow brings a lease to its end.
func (v *vault) endNow(k *vaultLease, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k.ends, k.busy = now, true
}

// due takes the leases whose end, or next attempt at it, has come.
func (v *vault) takeDue(now time.Time) []*vaultLease {
	v.mu.Lock()
	defer v.mu.Unlock()
	var due []*vaultLease
	for _, k := range v.leases {
		if !k.busy && !now.Before(k.ends) && !now.Before(k.next) {
			k.busy = true
			due = append(due, k)
		}
	}
	return due
}

// failed notes an attempt that failed, and says whether Vault gives up.
func (v *vault) recordFailure(k *vaultLease, now time.Time) (givesUp bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k.busy = false
	k.next = now.Add(firstRetry << k.attempts)
	k.attempts++
	return k.attempts >= revokeAttempts
}

// restarts counts attempts anew, as the next leader does.
func (v *vault) resetAttempts() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range v.leases {
		k.attempts, k.next, k.busy = 0, time.Time{}, false
	}
}

func (v *vault) snapshot() []vaultLease {
	v.mu.Lock()
	defer v.mu.Unlock()
	var saved []vaultLease
	for _, k := range v.leases {
		saved = append(saved, *k)
	}
	return saved
}

func (v *vault) restore(saved []vaultLease) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.leases = nil
	for _, k := range saved {
		v.leases = append(v.leases, &k)
	}
}

// endLeases has Vault revoke what has come to its end.
func (run *Run) endDueLeases() {
	for _, k := range run.vault.takeDue(time.Now()) {
		run.endLease(k)
	}
}

// endLease has Vault revoke a lease, at its end or as somebody says.
func (run *Run) endLease(k *vaultLease) {
	run.logf("vault ends the lease of token %s of role %s", k.ID, k.Role)
	op := &operation{what: "end lease", role: k.Role, target: k.ID, callerWaits: true}
	run.oracle.leaseEnding(k.ID)
	calls := run.recordCalls()
	run.await(run.launch(op, func(ctx context.Context, e Engine) error {
		err := e.EndLease(ctx, k.Lease)
		run.checkBackgroundCalls(op, calls)
		switch {
		case !run.leads(op.node):
		case err == nil:
			run.vault.remove(k)
			run.oracle.leaseEnded(k.ID)
		case run.vault.recordFailure(k, time.Now()):
			run.report.count("vault gives up on a lease")
			run.logf("  vault gives up on the lease of token %s", k.ID)
			run.vault.remove(k)
		}
		return err
	}))
}

// leads says whether what a node answers still reaches anybody.
func (run *Run) leads(n *node) bool {
	n.handle.disk.mu.Lock()
	defer n.handle.disk.mu.Unlock()
	return n.handle.term == n.handle.disk.leader && !n.handle.isDead() && n.ctx.Err() == nil
}
