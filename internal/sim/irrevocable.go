// SPDX-License-Identifier: MPL-2.0

package sim

import "slices"

// giveUp makes a lease irrevocable: Vault keeps it, and revokes it only at an operator's request.
func (v *vault) giveUp(k *vaultLease) {
	v.remove(k)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.irrevocable = append(v.irrevocable, k)
}

// takeIrrevocable returns the irrevocable leases, and makes them ordinary leases that have ended.
func (v *vault) takeIrrevocable() []*vaultLease {
	v.mu.Lock()
	defer v.mu.Unlock()
	taken := v.irrevocable
	v.irrevocable = nil
	for _, k := range taken {
		k.attempts, k.busy = 0, true
	}
	v.leases = append(v.leases, taken...)
	return taken
}

// revokeIrrevocable lets an operator revoke the leases that Vault has given up.
func (run *Run) revokeIrrevocable() {
	for _, k := range run.vault.takeIrrevocable() {
		run.logf("an operator revokes the irrevocable lease of token %s of role %s", k.ID, k.Role)
		run.report.count("an operator revokes an irrevocable lease")
		run.endLease(k)
	}
}

// checkIrrevocable expects that an operator can end each irrevocable lease at the end of a run.
func (run *Run) checkIrrevocable() {
	t := run.disk.truth()
	for _, k := range run.vault.takeIrrevocable() {
		revocation, waits := t.revocationOfToken(k.ID)
		if waits && run.isElsewhere(revocation.storedToken) {
			continue
		}
		if err := run.leader.engine.EndLease(run.leader.ctx, k.Lease); err != nil {
			run.broken("after days without a fault the irrevocable lease of token %s cannot be revoked: %v", k.ID, err)
		}
		run.oracle.leaseEnded(k.ID)
	}
}

// forgetIrrevocable drops the irrevocable leases, as a restored snapshot does.
func (v *vault) forgetIrrevocable() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.irrevocable = slices.Delete(v.irrevocable, 0, len(v.irrevocable))
}
