// SPDX-License-Identifier: MPL-2.0

package store

import (
	"sync"

	"github.com/hashicorp/vault/sdk/helper/locksutil"
)

// Mutex is a mutex for code that uses storage while it holds the lock. Its waiters wait on a channel. The virtual
// clock of the simulation, in which storage takes time, stands still while a goroutine waits for a sync.Mutex.
type Mutex chan struct{}

// NewMutex returns an unlocked mutex.
func NewMutex() Mutex { return make(Mutex, 1) }

// Lock waits until the mutex is unlocked, and locks it.
func (m Mutex) Lock() { m <- struct{}{} }

// Unlock unlocks the mutex. The goroutine that has waited longest goes on.
func (m Mutex) Unlock() { <-m }

// nameMutexes has a mutex for each name. A few names share one. A mutex is made when it is first needed, because most
// tables have few entries.
type nameMutexes struct {
	mu   sync.Mutex
	made [locksutil.LockCount]Mutex
}

func (m *nameMutexes) of(name string) Mutex {
	index := locksutil.LockIndexForKey(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.made[index] == nil {
		m.made[index] = NewMutex()
	}
	return m.made[index]
}
