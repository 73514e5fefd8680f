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

// snapshotWorld is a Vault with a snapshot, and the changes since the snapshot.
type snapshotWorld struct {
	*world
	snapshot string
	// replaced was rotated away before the snapshot and is due in the snapshot. before is the current token
	// of the role gpu in the snapshot, after its current token now.
	replaced, before, after issued
	// ended is a lease that was read before the snapshot and revoked after it. leases are the ten leases read
	// after the snapshot.
	ended   lease
	leases  []lease
	foreign []string
}

// newSnapshotWorld takes a snapshot. Then it rotates the role gpu and reads ten leases of the role job.
// Another fifty service users belong to another mount or to nobody.
func newSnapshotWorld(t *testing.T) *snapshotWorld {
	t.Helper()
	p := &snapshotWorld{world: &world{ctx: testContext(t)}}
	w := p.world
	w.start(t)
	var err error
	// A service user that is newer than a creation may take could belong to a creation. The emulator's clock
	// makes all service users older.
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

// requireNothingDies asserts that a server restored from the snapshot notices the difference to Modal. Within
// two ticks the server must end nothing. It must list what it does not know: the token of the later rotation
// and the ten later leases.
func (p *snapshotWorld) requireNothingDies(t *testing.T, restored *lab.Vault) {
	t.Helper()
	w := *p.world
	w.Vault = restored
	require.NoError(t, lab.Until(w.ctx, "the mount to be out of sync", func() error {
		read, err := w.Run(w.ctx, "", "read", "-field=out_of_sync", "modal/status")
		if err == nil && strings.TrimSpace(read.Stdout) != "true" {
			err = fmt.Errorf("the mount is not out of sync: %s", read.Stderr)
		}
		return err
	}))
	looks := w.calls(t, "ServiceUserList")
	require.NoError(t, lab.Until(w.ctx, "two more ticks", func() error {
		if now := w.calls(t, "ServiceUserList"); now < looks+2 {
			return fmt.Errorf("the engine has listed the service users %d times, after %d", now, looks)
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

// requireForeign asserts that the service users of others still exist.
func (p *snapshotWorld) requireForeign(t *testing.T) {
	t.Helper()
	var names []string
	for _, user := range p.state(t).ServiceUsers {
		names = append(names, user.Name)
	}
	require.Subset(t, names, p.foreign)
}

func TestRestore_InTheSameVaultRevokesNothingUntilAnOperatorDecides(t *testing.T) {
	t.Parallel()
	p := newSnapshotWorld(t)
	require.NoError(t, p.Restore(p.ctx, p.snapshot))
	p.requireNothingDies(t, p.Vault)
	p.requireAccepted(t, p.replaced.Token)
	refusal := p.run(t, p.CLI, "", "lease", "revoke", "-sync", p.ended.id)
	require.Equal(t, 2, refusal.Code)
	require.Contains(t, refusal.Stderr, "the mount is out of sync")

	tidied := parse(t, p.vault(t, "write", "-format=json", "modal/orphans", "dry_run=false"))

	require.Equal(t, "11", fmt.Sprint(tidied["ended"]))
	require.Equal(t, false, tidied["out_of_sync"])
	for _, token := range p.leases {
		p.requireRejected(t, token.Token)
	}
	require.Empty(t, p.list(t, "modal/orphans"))
	p.requireAccepted(t, p.current(t).Token)
	// The mount continues its work: it ends the token that was due, and the lease whose service user is
	// already gone at Modal.
	p.awaitGone(t, p.replaced.ID)
	p.requireRejected(t, p.replaced.Token)
	p.vault(t, "lease", "revoke", "-sync", "-prefix", "modal/creds/job")
	p.requireQueueEmpty(t)
	p.requireForeign(t)
	require.Len(t, p.state(t).ServiceUsers, len(p.foreign)+1)
}

func TestRestore_ASecondVaultRevokesNoTokenOfTheFirst(t *testing.T) {
	t.Parallel()
	p := newSnapshotWorld(t)
	second, err := p.lab.StartCopy(p.ctx, p.Vault, p.snapshot)
	require.NoError(t, err)
	p.nodes = append(p.nodes, second)
	p.requireNothingDies(t, second)
	requireSame(t, p.after, p.current(t))
	require.Equal(t, "false", strings.TrimSpace(p.vault(t, "read", "-field=out_of_sync", "modal/status")), "the first one knows all of them")
	p.vault(t, "lease", "revoke", "-sync", "-prefix", "modal/creds/job")
	for _, token := range p.leases {
		p.requireRejected(t, token.Token)
	}
	p.requireForeign(t)
}
