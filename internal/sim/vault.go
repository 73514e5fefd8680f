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
	kept []*kept
}

// kept is one lease.
type kept struct {
	*Lease

	issued, ends, next time.Time
	attempts           int
	busy               bool
}

func (v *vault) keep(k *kept) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept = append(v.kept, k)
}

func (v *vault) forget(k *kept) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept = slices.DeleteFunc(v.kept, func(other *kept) bool { return other == k })
}

// running are the leases whose end has not come.
func (v *vault) running(now time.Time) []*kept {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(v.kept), func(k *kept) bool { return k.busy || !now.Before(k.ends) })
}

// renew moves a lease's end, unless that has come.
func (v *vault) renew(k *kept, now, ends time.Time) (renewed bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k.busy || !now.Before(k.ends) {
		return false
	}
	k.ends = ends
	return true
}

// endNow brings a lease to its end.
func (v *vault) endNow(k *kept, now time.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k.ends, k.busy = now, true
}

// due takes the leases whose end, or next attempt at it, has come.
func (v *vault) due(now time.Time) []*kept {
	v.mu.Lock()
	defer v.mu.Unlock()
	var due []*kept
	for _, k := range v.kept {
		if !k.busy && !now.Before(k.ends) && !now.Before(k.next) {
			k.busy = true
			due = append(due, k)
		}
	}
	return due
}

// failed notes an attempt that failed, and says whether Vault gives up.
func (v *vault) failed(k *kept, now time.Time) (givesUp bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	k.busy = false
	k.next = now.Add(firstRetry << k.attempts)
	k.attempts++
	return k.attempts >= revokeAttempts
}

// restarts counts attempts anew, as the next leader does.
func (v *vault) restarts() {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, k := range v.kept {
		k.attempts, k.next, k.busy = 0, time.Time{}, false
	}
}

func (v *vault) snapshot() []kept {
	v.mu.Lock()
	defer v.mu.Unlock()
	var saved []kept
	for _, k := range v.kept {
		saved = append(saved, *k)
	}
	return saved
}

func (v *vault) restore(saved []kept) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.kept = nil
	for _, k := range saved {
		v.kept = append(v.kept, &k)
	}
}

// endLeases has Vault revoke what has come to its end.
func (l *Life) endLeases() {
	for _, k := range l.vault.due(time.Now()) {
		l.endLease(k)
	}
}

// endLease has Vault revoke a lease, at its end or as somebody says.
func (l *Life) endLease(k *kept) {
	l.note("vault ends the lease of token %s of role %s", k.ID, k.Role)
	op := &operation{what: "end lease", role: k.Role, target: k.ID, stays: true}
	l.oracle.leaseEnds(k.ID)
	calls := l.callsFromNow()
	l.await(l.begin(op, func(ctx context.Context, e Engine) error {
		err := e.EndLease(ctx, k.Lease)
		l.judge(op, calls)
		switch {
		case !l.leads(op.node):
		case err == nil:
			l.vault.forget(k)
			l.oracle.leaseEnded(k.ID)
		case l.vault.failed(k, time.Now()):
			l.report.seen("vault gives up on a lease")
			l.note("  vault gives up on the lease of token %s", k.ID)
			l.vault.forget(k)
		}
		return err
	}))
}

// leads says whether what a node answers still reaches anybody.
func (l *Life) leads(n *node) bool {
	n.handle.disk.mu.Lock()
	defer n.handle.disk.mu.Unlock()
	return n.handle.term == n.handle.disk.leader && !n.handle.isDead() && n.ctx.Err() == nil
}
