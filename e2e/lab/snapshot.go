// SPDX-License-Identifier: MPL-2.0

//go:build unix

package lab

import (
	"context"
	"errors"
)

// Snapshot saves all that the server stores, and returns the file.
func (v *Vault) Snapshot(ctx context.Context) (file string, err error) {
	file = v.lab.path(v.Name + ".snap")
	return file, v.must(ctx, "operator", "raft", "snapshot", "save", file)
}

// Restore puts a snapshot of the server's in the place of what it stores, and waits until it serves requests.
func (v *Vault) Restore(ctx context.Context, file string) error {
	if err := v.must(ctx, "operator", "raft", "snapshot", "restore", file); err != nil {
		return err
	}
	return v.process.ready(ctx, func() error { return v.must(ctx, "read", "sys/mounts") })
}

// StartCopy starts another server beside v, over a snapshot of v's. It has v's ID in the cluster, as Vault takes a node
// that the snapshot does not name for one that was removed.
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
