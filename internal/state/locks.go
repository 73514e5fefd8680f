// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"sync"

	"vault-plugin-secrets-modal/internal/model"
)

// LockLease serialises all changes of one lease's entry. Leases of one role do not wait for each other. A caller that
// holds a role's lock may take a lease's lock, and not the other way round.
func (m *Mount) LockLease(ctx context.Context, id string) (unlock func(), err error) {
	return m.locks.Lock(ctx, "lease "+id)
}

// NameLocks has a lock for each name that somebody holds or waits for. A caller that goes away leaves
// the queue, and no name waits for another.
type NameLocks struct {
	// waited is called by a caller that got a lock from another one, before it goes on.
	waited func()

	mu    sync.Mutex
	names map[string]*nameLock
}

type nameLock struct {
	held  chan struct{}
	users int
}

// NewNameLocks returns locks that call waited when a caller had to wait for one.
func NewNameLocks(waited func()) *NameLocks {
	return &NameLocks{waited: waited, names: map[string]*nameLock{}}
}

// Lock waits for the lock of a name. The caller releases it exactly once.
func (l *NameLocks) Lock(ctx context.Context, name string) (release func(), err error) {
	lock := l.join(name)
	if !lock.take(ctx, l.waited) {
		l.leave(name, lock)
		return nil, &model.CanceledError{Name: name, Cause: ctx.Err()}
	}
	return func() { <-lock.held; l.leave(name, lock) }, nil
}

// Users returns how many callers hold a name's lock or wait for it.
func (l *NameLocks) Users(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lock := l.names[name]; lock != nil {
		return lock.users
	}
	return 0
}

func (l *nameLock) take(ctx context.Context, waited func()) (taken bool) {
	select {
	case l.held <- struct{}{}:
	default:
		select {
		case l.held <- struct{}{}:
			waited()
		case <-ctx.Done():
			return false
		}
	}
	if ctx.Err() == nil {
		return true
	}
	<-l.held
	return false
}

func (l *NameLocks) join(name string) *nameLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock := l.names[name]
	if lock == nil {
		lock = &nameLock{held: make(chan struct{}, 1)}
		l.names[name] = lock
	}
	lock.users++
	return lock
}

func (l *NameLocks) leave(name string, lock *nameLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lock.users--; lock.users == 0 {
		delete(l.names, name)
	}
}

// LockRole serialises all that changes a role.
func (m *Mount) LockRole(ctx context.Context, name string) (unlock func(), err error) {
	return m.locks.Lock(ctx, "role "+name)
}

// RoleLockUsers returns how many callers hold a role's lock or wait for it.
func (m *Mount) RoleLockUsers(name string) int { return m.locks.Users("role " + name) }

// LockOwner is the lock of the role that a token was of, or of config where name is empty.
func (m *Mount) LockOwner(ctx context.Context, name string) (unlock func(), err error) {
	if name == "" {
		return m.LockConfig(ctx)
	}
	return m.LockRole(ctx, name)
}

// LockComparison serialises comparisons of storage with Modal.
func (m *Mount) LockComparison(ctx context.Context) (unlock func(), err error) {
	return m.locks.Lock(ctx, "orphans")
}

// LockUnfinished serialises the lookups of creations that may have failed.
func (m *Mount) LockUnfinished(ctx context.Context) (unlock func(), err error) {
	return m.locks.Lock(ctx, "unfinished creations")
}

// LockConfig serialises writes of config.
func (m *Mount) LockConfig(ctx context.Context) (unlock func(), err error) {
	return m.locks.Lock(ctx, "config")
}
