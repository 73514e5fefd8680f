// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"hash/fnv"
	"sync"
	"time"
)

// storageTime draws how long each storage operation of a process takes. Two operations on different keys never take
// the same time, so they do not end at the same instant.
type storageTime struct {
	seed uint64

	mu   sync.Mutex
	seen map[string]uint64 // operations by key
}

// A read or write of an entry takes up to slowEntry. A list reads many names, and takes up to slowList.
const (
	slowEntry = 20 * time.Millisecond
	slowList  = time.Second
)

// draw returns how long the next operation on a key takes, at most longest. Without SlowStorage it takes no time.
func (s *storageTime) draw(key string, longest time.Duration) time.Duration {
	if s == nil {
		return 0
	}
	s.mu.Lock()
	s.seen[key]++
	number := s.seen[key]
	s.mu.Unlock()
	name := fnv.New64a()
	_, _ = name.Write([]byte(key))
	return 1 + time.Duration(mix(mix(s.seed+number)+name.Sum64())%uint64(longest)) //nolint:gosec // it is small
}

// newStorageTime returns the durations of a process's storage operations, or nil if storage takes no time.
func (run *Run) newStorageTime() *storageTime {
	if !run.conditions.SlowStorage {
		return nil
	}
	return &storageTime{seed: mix(run.plan.Seed + run.boots), seen: map[string]uint64{}}
}
