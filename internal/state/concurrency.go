// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// MaxConcurrentRotations bounds what a tick does at once, and so many entries of the ledger beside.
const MaxConcurrentRotations = 4

// MaxConcurrentChecks bounds how many tokens Modal is asked about at once. So many are enough for ten thousand
// managed roles in the shortest interval, with two calls of 50 ms each.
const MaxConcurrentChecks = 16

// MaxConcurrentReads bounds how many entries are read at once where all are: after a restart each read
// is a call to Vault.
const MaxConcurrentReads = 8

// UntilOver does something at Modal for each name, so many at a time, and begins no more when begin is
// over. One failure stops no other.
func (m *Mount) UntilOver(begin context.Context, names []string, atOnce int, do func(name string) error) error {
	failures := make([]error, len(names))
	EachOf(names, atOnce, func(i int, name string) {
		m.Stagger(i)
		if begin.Err() == nil {
			failures[i] = do(name)
		}
	})
	return errors.Join(failures...)
}

// EachOf does something for each name, so many at a time.
func EachOf(names []string, atOnce int, do func(i int, name string)) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, name := range names {
		group.Go(func() error {
			do(i, name)
			return nil
		})
	}
	_ = group.Wait() // none of them fails
}
