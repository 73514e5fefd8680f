// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"context"
	"slices"
	"sync"
	"time"
)

// revokeAttempts is how often Vault tries to revoke an ended lease. firstRetry is the wait after the first failure.
// It doubles after each further failure.
const (
	revokeAttempts = 6
	firstRetry     = 10 * time.Second
)

// vault is the part of Vault that keeps leases. It knows only the leases whose answers arrived.
type vault struct {
	mu     sync.Mutex
	leases []*vaultLease
	// irrevocable are the leases that Vault has given up.
	irrevocable []*vaultLease
}

// vaultLease is one lease in Vault.
type vaultLease struct {
	*Lease

	issued, ends, next time.Time
	attempts           int
	busy               bool
	reader             string // the display name of the reader
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

// active returns the leases that have not ended.
func (v *vault) active(now time.Time) []*vaultLease {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(v.leases), func(k *vaultLease) bool { return k.busy || !now.Before(k.ends) })
}

// renew moves the end of a lease that has not ended yet.
func (v *vault) renew(k *vaultLease, now, ends time.Time) (renewed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k.busy || !now.Before(k.ends) {
		return false
	}
	k.ends = ends
	return true
}

// endNow ends a lease now.
func (v *vault) endNow(k *vaultLease, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k.ends, k.busy = now, true
}

// takeDue returns the leases whose end, or whose next attempt, is due. It marks them busy.
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

// recordFailure counts a failed attempt and reports whether Vault gives up.
func (v *vault) recordFailure(k *vaultLease, now time.Time) (givesUp bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k.busy = false
	k.next = now.Add(firstRetry << k.attempts)
	k.attempts++
	return k.attempts >= revokeAttempts
}

// resetAttempts sets all attempts back to zero, as the next leader does.
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

// endDueLeases lets Vault revoke the leases that have ended.
func (run *Run) endDueLeases() {
	for _, k := range run.vault.takeDue(time.Now()) {
		run.endLease(k)
	}
}

// endLease lets Vault revoke a lease, at its end or at somebody's request.
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
			run.vault.giveUp(k)
		}
		return err
	}))
}

// leads reports whether the node's answers still reach a caller.
func (run *Run) leads(n *node) bool {
	n.handle.disk.mu.Lock()
	defer n.handle.disk.mu.Unlock()
	return n.handle.term == n.handle.disk.leader && !n.handle.isDead() && n.ctx.Err() == nil
}
