// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/model"
)

// patience is how long a test waits for something that takes almost no time if the engine works.
const patience = time.Minute

// gate stops the first call of an RPC before Modal handles it.
type gate struct {
	t       *testing.T
	arrived chan struct{}
	opened  chan struct{}
	once    sync.Once
}

// gateAt sets a gate before an RPC. It opens when the test ends, if not before.
func (h *harness) gateAt(rpc string) *gate {
	g := &gate{t: h.t, arrived: make(chan struct{}), opened: make(chan struct{})}
	var first atomic.Bool
	h.modal.OnCall(func(called string) {
		if called == rpc && first.CompareAndSwap(false, true) {
			close(g.arrived)
			<-g.opened
		}
	})
	h.t.Cleanup(g.open)
	return g
}

// await waits until a call is at the gate.
func (g *gate) await() {
	g.t.Helper()
	select {
	case <-g.arrived:
	case <-time.After(patience):
		g.t.Fatal("no call reached the gate")
	}
}

func (g *gate) open() { g.once.Do(func() { close(g.opened) }) }

// underway is a request that has started and possibly not returned yet.
type underway struct {
	t    *testing.T
	err  error
	done chan struct{}
}

// begin starts a request in a goroutine.
func (h *harness) begin(ctx context.Context, do act) *underway {
	u := &underway{t: h.t, done: make(chan struct{})}
	go func() {
		defer close(u.done)
		u.err = do(ctx)
	}()
	return u
}

// answer waits for the request's result.
func (u *underway) answer() error {
	u.t.Helper()
	select {
	case <-u.done:
	case <-time.After(patience):
		u.t.Fatal("a request did not return")
	}
	return u.err
}

func (u *underway) succeeds() {
	u.t.Helper()
	require.NoError(u.t, u.answer())
}

func (u *underway) isRefused(says string) {
	u.t.Helper()
	err := u.answer()
	require.ErrorContains(u.t, err, says)
	require.True(u.t, model.IsUserError(err))
}

// act is a request that begin can start.
type act func(ctx context.Context) error

func (h *harness) rotating(ask model.RotateRequest) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Rotations.Rotate(ctx, ask)
		return err
	}
}

func (h *harness) writing(ask model.RoleWrite) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Roles.Write(ctx, ask)
		return err
	}
}

func (h *harness) deleting(role string) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Roles.Delete(ctx, role, false)
		return err
	}
}

func (h *harness) ending(id string, force bool) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Revocations.End(ctx, id, force)
		return err
	}
}

func (h *harness) forgetting(id string, force bool) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Revocations.Remove(ctx, id, force)
		return err
	}
}

func (h *harness) beginning(role string) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Approvals.Begin(ctx, model.ApprovalRequest{Role: role})
		return err
	}
}

func (h *harness) cancelling(role string) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Approvals.Cancel(ctx, role)
		return err
	}
}

func (h *harness) configuring(ask model.ConfigWrite) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Configs.Write(ctx, ask)
		return err
	}
}

func (h *harness) rotatingAdmin(next model.Supplied) act {
	return func(ctx context.Context) error {
		_, err := h.engine.Configs.RotateAdmin(ctx, model.AdminRotation{Supplied: next})
		return err
	}
}

func (h *harness) deletingConfig(ctx context.Context) error {
	_, err := h.engine.Configs.Delete(ctx, true)
	return err
}

func (h *harness) ticking(ctx context.Context) error { return h.engine.Worker.Tick(ctx) }

// awaitLockUsers waits until the given number of requests hold a role's lock or wait for it.
func (h *harness) awaitLockUsers(role string, count int) {
	h.t.Helper()
	require.Eventually(h.t, func() bool { return h.engine.Mount.RoleLockUsers(role) == count },
		patience, time.Millisecond, "%d requests must hold or await the lock of role %s", count, role)
}

// lockRole takes a role's lock as a request does that works on the role.
func (h *harness) lockRole(role string) (leave func()) {
	h.t.Helper()
	unlock, err := h.engine.Mount.LockRole(h.t.Context(), role)
	require.NoError(h.t, err)
	leave = sync.OnceFunc(unlock)
	h.t.Cleanup(leave)
	return leave
}

// leftByCrash stores the due revocation of a current token that a crash of a rotation leaves behind. A crash
// before the token is replaced leaves it under the token's ID. A crash after the token's creation leaves it
// under the service user's name.
func (h *harness) leftByCrash(role string, underName bool) (key string) {
	h.t.Helper()
	r, cred, err := h.engine.Mount.Current(h.t.Context(), role)
	require.NoError(h.t, err)
	entry := model.NewRevocation(role, r, cred, model.ReasonRotated, h.engine.Mount.Now(), 0)
	if underName {
		entry.Reason = model.ReasonUnfinished
	}
	require.NoError(h.t, h.engine.Mount.Revocations.Put(h.t.Context(), entry.Key(), entry))
	return entry.Key()
}
