// SPDX-License-Identifier: MPL-2.0

package sim

import "context"

// cut is what becomes of the nth write from now.
type cut struct {
	in int // 1 is the next write
	// committed: the write takes effect and only its answer is lost.
	committed bool
	// deadly: the process dies there.
	deadly bool
	// leaves: whoever asked goes away there. A write that heeds its caller then fails, done or not.
	leaves bool
}

// leaveKey is where a context keeps how its caller goes away.
type leaveKey struct{}

func leave(ctx context.Context) {
	if cancel, ok := ctx.Value(leaveKey{}).(context.CancelFunc); ok {
		cancel()
	}
}

// isAsked says that somebody asked for what is done, who may go away: what a node does in the background
// nobody waits for.
func isAsked(ctx context.Context) bool { return ctx.Value(leaveKey{}) != nil }

func (c *cut) String() string {
	switch {
	case c.leaves && c.committed:
		return "caller left after"
	case c.leaves:
		return "caller left before"
	case c.deadly && c.committed:
		return "killed after"
	case c.deadly:
		return "killed before"
	case c.committed:
		return "answer lost of"
	}
	return "failed"
}

func (h *handle) failure(c *cut) error {
	switch {
	case c.deadly:
		return errDead
	case c.leaves:
		return context.Canceled
	}
	return errStorage
}

func (h *handle) fell(c *cut) {
	if c.deadly && h.died != nil {
		h.died()
	}
}
