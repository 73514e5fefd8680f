// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"fmt"
	"sync"
)

// roleLocks are one lock for each name that somebody holds or waits for. Two names never share one, and
// a caller that goes away leaves the queue.
type roleLocks struct {
	mu    sync.Mutex
	locks map[string]*roleLock
}

// roleLock is held by whoever put a value into held. A channel and no mutex: waiting for it can end
// with a context.
type roleLock struct {
	held  chan struct{}
	users int
}

func newRoleLocks() *roleLocks { return &roleLocks{locks: map[string]*roleLock{}} }

// hold waits until the name is the caller's alone, or ctx is over. Hold one name at a time.
func (l *roleLocks) hold(ctx context.Context, name string) (release func(), err error) {
	lock := l.join(name)
	select {
	case lock.held <- struct{}{}:
		return func() {
			<-lock.held
			l.leave(name)
		}, nil
	case <-ctx.Done():
		l.leave(name)
		return nil, fmt.Errorf("wait for what else goes on with %s: %w", name, ctx.Err())
	}
}

func (l *roleLocks) join(name string) *roleLock {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock := l.locks[name]
	if lock == nil {
		lock = &roleLock{held: make(chan struct{}, 1)}
		l.locks[name] = lock
	}
	lock.users++
	return lock
}

// leave forgets the lock with its last user, so that names of old roles do not pile up.
func (l *roleLocks) leave(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lock := l.locks[name]
	if lock.users--; lock.users == 0 {
		delete(l.locks, name)
	}
}
