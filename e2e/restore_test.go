// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/e2e/lab"
)

// past is a Vault of which there is a snapshot, and what happened since.
type past struct {
	*world
	snapshot string
	// replaced was rotated away before the snapshot and is due in it; before is what the role gpu handed out then,
	// and after what it does since a rotation.
	replaced, before, after issued
	// ended is a lease of before the snapshot that was revoked since, and leases are the ten of after it.
	ended   lease
	leases  []lease
	foreign []string
}

// newPast takes a snapshot, and then rotates the role gpu and reads ten leases of the role job. Fifty service users
// are another mount's, or nobody's.
func newPast(t *testing.T) *past {
	t.Helper()
	p := &past{world: &world{ctx: testContext(t)}}
	w := p.world
	w.start(t)
	var err error
	// What is younger than a mint may be of one, so all that the emulator makes is older.
	w.emulator, err = w.lab.StartEmulator(w.ctx, "-clock-behind=20m")
	require.NoError(t, err)
	w.Vault, err = w.lab.StartVault(w.ctx)
	require.NoError(t, err)
	w.nodes = []*lab.Vault{w.Vault}
	w.enable(t)
	w.newAdmin(t)
	w.newManagedRole(t)
	w.newJob(t)
	for i := range 50 {
		name := fmt.Sprintf("vault-%08d-gpu-%08d", i, i)
		if i%2 == 0 {
			name = fmt.Sprintf("robot-%d", i)
		}
		require.NoError(t, w.emulator.NewServiceUser(w.ctx, name))
		p.foreign = append(p.foreign, name)
	}
	p.replaced = w.current(t)
	w.vault(t, "write", "modal/rotate/gpu", "grace_period=1s")
	p.before, p.ended = w.current(t), w.lease(t)
	p.snapshot, err = w.Snapshot(w.ctx)
	require.NoError(t, err)

	w.vault(t, "lease", "revoke", "-sync", p.ended.id)
	w.vault(t, "write", "-f", "modal/rotate/gpu")
	p.after = w.current(t)
	for range 10 {
		p.leases = append(p.leases, w.lease(t))
	}
	return p
}

// requireNothingDies asserts that a server that runs over the snapshot notices that, ends nothing in two minutes
// of its work, and lists what it does not know: the token of after the rotation, and the ten leases.
func (p *past) requireNothingDies(t *testing.T, restored *lab.Vault) {
	t.Helper()
	w := *p.world
	w.Vault = restored
	require.NoError(t, lab.Until(w.ctx, "the mount to notice", func() error {
		read, err := w.Run(w.ctx, "", "read", "-field=out_of_sync", "modal/status")
		if err == nil && strings.TrimSpace(read.Stdout) != "true" {
			err = fmt.Errorf("it is not out of sync: %s", read.Stderr)
		}
		return err
	}))
	looks := w.calls(t, "ServiceUserList")
	require.NoError(t, lab.Until(w.ctx, "two more ticks", func() error {
		if now := w.calls(t, "ServiceUserList"); now < looks+2 {
			return fmt.Errorf("%d looks at Modal's list, after %d", now, looks)
		}
		return nil
	}))
	for _, token := range p.leases {
		w.requireAccepted(t, token.Token)
	}
	w.requireAccepted(t, p.before.Token)
	w.requireAccepted(t, p.after.Token)
	requireSame(t, p.before, w.current(t))
	orphans := w.list(t, "modal/orphans")
	require.Len(t, orphans, 11)
	require.Len(t, slices.DeleteFunc(slices.Clone(orphans), func(name string) bool { return !strings.Contains(name, "-job-") }), 10)
	plan := parse(t, w.vault(t, "write", "-format=json", "-f", "modal/orphans"))
	require.Equal(t, true, plan["dry_run"])
	require.Len(t, plan["names"], 11)
	require.Len(t, w.list(t, "modal/orphans"), 11)
}

// requireForeign asserts that nobody touched service users that are not the mount's.
func (p *past) requireForeign(t *testing.T) {
	t.Helper()
	var names []string
	for _, user := range p.state(t).ServiceUsers {
		names = append(names, user.Name)
	}
	require.Subset(t, names, p.foreign)
}

func TestASnapshotRestoredInTheSameVaultEndsNothingUnaskedAndOneCommandTidies(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	require.NoError(t, p.Restore(p.ctx, p.snapshot))
	p.requireNothingDies(t, p.Vault)
	p.requireAccepted(t, p.replaced.Token)
	held := p.run(t, p.CLI, "", "lease", "revoke", "-sync", p.ended.id)
	require.Equal(t, 2, held.Code)
	require.Contains(t, held.Stderr, "the mount is out of sync")

	tidied := parse(t, p.vault(t, "write", "-format=json", "modal/orphans", "dry_run=false"))

	require.Equal(t, "11", fmt.Sprint(tidied["ended"]))
	require.Equal(t, false, tidied["out_of_sync"])
	for _, token := range p.leases {
		p.requireRefused(t, token.Token)
	}
	require.Empty(t, p.list(t, "modal/orphans"))
	p.requireAccepted(t, p.current(t).Token)
	// And the mount goes on: with what was due, and with the lease that is gone at Modal already.
	p.awaitGone(t, p.replaced.ID)
	p.requireRefused(t, p.replaced.Token)
	p.vault(t, "lease", "revoke", "-sync", "-prefix", "modal/creds/job")
	p.requireLedgerClear(t)
	p.requireForeign(t)
	require.Len(t, p.state(t).ServiceUsers, len(p.foreign)+1)
}

func TestASecondVaultOverASnapshotEndsNothingThatTheFirstHandsOut(t *testing.T) {
	t.Parallel()
	p := newPast(t)
	twin, err := p.lab.StartCopy(p.ctx, p.Vault, p.snapshot)
	require.NoError(t, err)
	p.nodes = append(p.nodes, twin)
	p.requireNothingDies(t, twin)
	requireSame(t, p.after, p.current(t))
	require.Equal(t, "false", strings.TrimSpace(p.vault(t, "read", "-field=out_of_sync", "modal/status")), "the first one knows all of them")
	p.vault(t, "lease", "revoke", "-sync", "-prefix", "modal/creds/job")
	for _, token := range p.leases {
		p.requireRefused(t, token.Token)
	}
	p.requireForeign(t)
}
