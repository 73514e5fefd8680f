// SPDX-License-Identifier: MPL-2.0

package sim

import "context"

// cut is what becomes of the nth write from now.
type cut struct {
	in int // 1 is the next write
	// committed: the write takes effect and only its answer is lost.
	committed bool
	// deadly: the process dies there.
	kills bool
	// leaves: whoever asked goes away there. A write that heeds its caller then fails, done or not.
	callerLeaves bool
}

// leaveKey is where a context keeps how its caller goes away.
type cancelKey struct{}

func cancelCaller(ctx context.Context) {
	if cancel, ok := ctx.Value(cancelKey{}).(context.CancelFunc); ok {
		cancel()
	}
}

// isAsked says that somebody asked for what is done, who may go away: what a node does in the background
// nobody waits for.
func isRequested(ctx context.Context) bool { return ctx.Value(cancelKey{}) != nil }

func (c *cut) String() string {
	switch {
	case c.callerLeaves && c.committed:
		return "caller left after"
	case c.callerLeaves:
		return "caller left before"
	case c.kills && c.committed:
		return "killed after"
	case c.kills:
		return "killed before"
	case c.committed:
		return "answer lost of"
	}
	return "failed"
}

func (h *handle) cutError(c *cut) error {
	switch {
	case c.kills:
		return errDead
	case c.callerLeaves:
		return context.Canceled
	}
	return errStorage
}

func (h *handle) finishCut(c *cut) {
	if c.kills && h.died != nil {
		h.died()
	}
}
