// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"maps"
	"slices"
	"strings"
)

// failOneKey makes all reads and writes of one entry fail. Other entries stay usable.
func (run *Run) failOneKey() {
	keys := slices.Sorted(maps.Keys(run.disk.snapshot()))
	key := keys[run.roll("key", len(keys))]
	run.logf("  fault:  storage fails for %s", key)
	kind, _, _ := strings.Cut(key, "/")
	run.report.count("storage: one key fails: " + kind)
	run.leader.handle.setFailingKey(key)
}

// setFailingKey makes one key fail, or none if it is empty.
func (h *handle) setFailingKey(key string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failingKey = key
}

// failsOnly returns the failing key if nothing else fails, or "".
func (h *handle) failsOnly() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.dead || h.failReads {
		return ""
	}
	return h.failingKey
}

// checkUnreadable expects that a failing entry of one role keeps no other role from being read.
func (run *Run) checkUnreadable(role string, n *node, err error) {
	key := n.handle.failsOnly()
	kind, name, _ := strings.Cut(key, "/")
	if (kind == "role" || kind == "cred") && name != role && n.ctx.Err() == nil && !isUserError(err) {
		run.broken("role %s cannot be read because storage fails for %s: %v", role, key, err)
	}
}
