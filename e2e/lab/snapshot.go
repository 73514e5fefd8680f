// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"errors"
)

// Snapshot saves the server's whole storage and returns the file.
func (v *Vault) Snapshot(ctx context.Context) (file string, err error) {
	file = v.lab.path(v.Name + ".snap")
	return file, v.must(ctx, "operator", "raft", "snapshot", "save", file)
}

// Restore replaces the server's storage by a snapshot of the same server and waits until the server serves
// requests.
func (v *Vault) Restore(ctx context.Context, file string) error {
	if err := v.must(ctx, "operator", "raft", "snapshot", "restore", file); err != nil {
		return err
	}
	return v.process.ready(ctx, func() error { return v.must(ctx, "read", "sys/mounts") })
}

// StartCopy starts a second server beside v from a snapshot of v. The copy has v's node ID, because Vault
// treats a node that the snapshot does not name as removed.
func (l *Lab) StartCopy(ctx context.Context, v *Vault, file string) (*Vault, error) {
	c, err := l.newVault(ctx, v.Name+"-copy", "VAULT_RAFT_NODE_ID="+v.Name)
	if err != nil {
		return nil, err
	}
	if err = c.found(ctx); err != nil {
		return nil, err
	}
	if err = c.must(ctx, "operator", "raft", "snapshot", "restore", "-force", file); err != nil {
		return nil, err
	}
	c.unseal, c.Token, c.CLI = v.unseal, v.Token, c.As(v.Token)
	return c, c.process.ready(ctx, func() error {
		return errors.Join(c.must(ctx, "operator", "unseal", c.unseal), c.must(ctx, "token", "lookup"))
	})
}
