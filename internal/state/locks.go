// SPDX-License-Identifier: MPL-2.0

package state

import (
	"context"
	"sync"

	"vault-plugin-secrets-modal/internal/model"
)

// LockLease locks a lease's revocation against other changes. Leases of one role do not wait for each other. A caller
// that has a role's lock may take a lease's lock, but not the reverse.
func (m *Mount) LockLease(ctx context.Context, id string) (unlock func(), err error) {
	return m.locks.Lock(ctx, "lease "+id)
}

// NameLocks has a lock for each name that a caller has locked or waits for. Names do not wait for each other. A
// caller whose context ends leaves the queue.
type NameLocks struct {
	// waited is called with the name of the lock by a caller that had to wait for it, once the caller has the lock.
	waited func(name string)

	// mu protects names.
	mu    sync.Mutex
	names map[string]*nameLock
}

// nameLock is the lock of one name.
type nameLock struct {
	// taken contains a value while the lock is taken.
	taken chan struct{}
	// users counts the callers that have the lock or wait for it.
	users int
}

// NewNameLocks returns locks that call waited after a caller had to wait.
func NewNameLocks(waited func(name string)) *NameLocks {
	return &NameLocks{waited: waited, names: map[string]*nameLock{}}
}

// Lock waits for the lock of a name. The caller must call release exactly once.
func (l *NameLocks) Lock(ctx context.Context, name string) (release func(), err error) {
	lock := l.join(name)
	if !lock.take(ctx, func() { l.waited(name) }) {
		l.leave(name, lock)
		return nil, &model.CanceledError{Name: name, Cause: ctx.Err()}
	}
	return func() { <-lock.taken; l.leave(name, lock) }, nil
}

// Users returns how many callers have a name's lock or wait for it.
func (l *NameLocks) Users(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lock := l.names[name]; lock != nil {
		return lock.users
	}
	return 0
}

func (l *nameLock) take(ctx context.Context, waited func()) (ok bool) {
	select {
	case l.taken <- struct{}{}:
	default:
		select {
		case l.taken <- struct{}{}:
			waited()
		case <-ctx.Done():
			return false
		}
	}
	if ctx.Err() == nil {
		return true
	}
	<-l.taken
	return false
}

func (l *NameLocks) join(name string) *nameLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock := l.names[name]
	if lock == nil {
		lock = &nameLock{taken: make(chan struct{}, 1)}
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

// LockRole locks a role against other changes.
func (m *Mount) LockRole(ctx context.Context, name string) (unlock func(), err error) {
	return m.locks.Lock(ctx, "role "+name)
}

// RoleLockUsers returns how many callers have a role's lock or wait for it.
func (m *Mount) RoleLockUsers(name string) int { return m.locks.Users("role " + name) }

// LockOwner locks the role that a token belongs to, or config if name is empty.
func (m *Mount) LockOwner(ctx context.Context, name string) (unlock func(), err error) {
	if name == "" {
		return m.LockConfig(ctx)
	}
	return m.LockRole(ctx, name)
}

// LockComparison locks the comparison of storage with Modal.
func (m *Mount) LockComparison(ctx context.Context) (unlock func(), err error) {
	return m.locks.Lock(ctx, "orphans")
}

// LockCleanup locks the cleanup of orphans against other requests for a cleanup.
func (m *Mount) LockCleanup(ctx context.Context) (unlock func(), err error) {
	return m.locks.Lock(ctx, "the cleanup of orphans")
}

// LockUnfinished locks the lookup of creations that may have failed.
func (m *Mount) LockUnfinished(ctx context.Context) (unlock func(), err error) {
	return m.locks.Lock(ctx, "unfinished creations")
}

// LockConfig locks config against other changes.
func (m *Mount) LockConfig(ctx context.Context) (unlock func(), err error) {
	return m.locks.Lock(ctx, "config")
}
