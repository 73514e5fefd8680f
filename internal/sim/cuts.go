// SPDX-License-Identifier: MPL-2.0

package sim

import "context"

// cut says how one of the next writes ends.
type cut struct {
	in int // 1 means the next write
	// committed: the write takes effect, and only its answer is lost.
	committed bool
	// kills: the process dies at this write.
	kills bool
	// callerLeaves: the caller cancels the request at this write. A write that uses the caller's context then
	// fails, done or not.
	callerLeaves bool
}

// cancelKey is the context key of the function that cancels the caller's request.
type cancelKey struct{}

func cancelCaller(ctx context.Context) {
	if cancel, ok := ctx.Value(cancelKey{}).(context.CancelFunc); ok {
		cancel()
	}
}

// isRequested reports whether a caller waits for this write and may cancel it. No caller waits for a node's
// background work.
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
