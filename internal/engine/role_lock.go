// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"sync"
)

// nameLocks has a lock for each name that somebody holds or waits for. A caller that goes away leaves
// the queue, and no name waits for another.
type nameLocks struct {
	// waited is called by a caller that got a lock from another one, before it goes on.
	waited func()

	mu    sync.Mutex
	names map[string]*nameLock
}

type nameLock struct {
	held  chan struct{}
	users int
}

func newNameLocks(waited func()) *nameLocks {
	return &nameLocks{waited: waited, names: map[string]*nameLock{}}
}

// hold waits for the lock of a name. The caller releases it exactly once.
func (l *nameLocks) hold(ctx context.Context, name string) (release func(), err error) {
	lock := l.join(name)
	if !lock.take(ctx, l.waited) {
		l.leave(name, lock)
		return nil, &notHeldError{name: name, cause: ctx.Err()}
	}
	return func() { <-lock.held; l.leave(name, lock) }, nil
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

func (l *nameLocks) join(name string) *nameLock {
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

func (l *nameLocks) leave(name string, lock *nameLock) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lock.users--; lock.users == 0 {
		delete(l.names, name)
	}
}

// notHeldError is what a caller gets that went away before it was its turn.
type notHeldError struct {
	name  string
	cause error
}

func (e *notHeldError) Error() string {
	return fmt.Sprintf("another request still works on %s, and this one ended before it was done: nothing was changed; try again (%s)", e.name, e.cause)
}

func (e *notHeldError) Unwrap() error { return e.cause }

// lockRole serialises all that changes a role.
func (e *Engine) lockRole(ctx context.Context, name string) (unlock func(), err error) {
	return e.locks.hold(ctx, "role "+name)
}

// lockOwner is the lock of the role that a token was of, or of config where name is empty.
func (e *Engine) lockOwner(ctx context.Context, name string) (unlock func(), err error) {
	if name == "" {
		return e.lockConfig(ctx)
	}
	return e.lockRole(ctx, name)
}

// lockConfig serialises writes of config.
func (e *Engine) lockConfig(ctx context.Context) (unlock func(), err error) {
	return e.locks.hold(ctx, "config")
}
