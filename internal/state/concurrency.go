// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"
)

// MaxConcurrentRotations bounds how many roles a tick rotates at once. The same number of revocations is processed at
// the same time.
const MaxConcurrentRotations = 4

// MaxConcurrentChecks bounds how many tokens are verified at once. This is enough for ten thousand managed roles at
// the shortest interval, with two calls of 50 ms each.
const MaxConcurrentChecks = 16

// MaxConcurrentReads bounds how many storage entries are read at once when all are read. After a restart each read is
// a call to Vault.
const MaxConcurrentReads = 8

// UntilOver calls do for each name, at most atOnce at a time. It starts no further call once the context begin is
// over. A failure stops no other call.
func (m *Mount) UntilOver(begin context.Context, names []string, atOnce int, do func(name string) error) error {
	failures := make([]error, len(names))
	m.Each(names, atOnce, func(i int, name string) {
		if begin.Err() == nil {
			failures[i] = do(name)
		}
	})
	return errors.Join(failures...)
}

// Each calls do for each name, at most atOnce at a time, as jobs of their own.
func (m *Mount) Each(names []string, atOnce int, do func(i int, name string)) {
	EachOf(names, atOnce, func(i int, name string) {
		m.Stagger(name)
		do(i, name)
	})
}

// EachOf calls do for each name, at most atOnce at a time. It is for short work whose sequence does not matter.
func EachOf(names []string, atOnce int, do func(i int, name string)) {
	var group errgroup.Group
	group.SetLimit(atOnce)
	for i, name := range names {
		group.Go(func() error {
			do(i, name)
			return nil
		})
	}
	_ = group.Wait() // the functions return no error
}
