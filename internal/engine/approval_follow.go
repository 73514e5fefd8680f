// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"sync"
	"time"
)

const (
	// flowWait is how long Modal is asked to wait with its answer, pollInterval how often the same is
	// asked at the least.
	flowWait     = 10 * time.Second
	pollInterval = time.Second
	// flowRetry is how long after a failure Modal is asked again.
	flowRetry = 5 * time.Second
	// lateAnswer is how long after the end of an approval Modal is asked whether it brings a token all the same.
	lateAnswer = time.Hour
)

// followers are the approvals that this node waits for, one goroutine each. None outlives close.
type followers struct {
	mu      sync.Mutex
	running map[string]bool
	ctx     context.Context //nolint:containedctx // the mount's life
	stop    context.CancelFunc
	group   sync.WaitGroup
}

func newFollowers() *followers {
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // the mount outlives every request
	return &followers{running: map[string]bool{}, ctx: ctx, stop: stop}
}

// followTurn is the followers' place among what a tick begins, behind the ledger's.
const followTurn = 1 << 21

// start runs work for a key, unless that is under way or the mount is over.
func (f *followers) start(key string, work func(ctx context.Context)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.running[key] || f.ctx.Err() != nil {
		return
	}
	f.running[key] = true
	f.group.Go(func() {
		work(f.ctx)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.running, key)
	})
}

func (f *followers) close() {
	f.mu.Lock()
	f.stop()
	f.mu.Unlock()
	f.group.Wait()
}

// follow waits in the background for an approval, until it has ended or can no longer be written here:
// the next tick, on the node that may write, takes it up again.
func (e *Engine) follow(key string) { e.followAs(0, key) }

// followAs is follow for the nth of several approvals.
func (e *Engine) followAs(n int, key string) {
	e.followers.start(key, func(ctx context.Context) {
		e.deps.Stagger(followTurn + n)
		for {
			again, err := e.advance(ctx, key, flowWait)
			if ctx.Err() != nil || (err == nil && again == 0) || isStorageError(err) {
				return
			}
			if err != nil {
				e.log().Debug("an approval does not come on", "approval", key, "error", err)
			}
			if e.deps.Wait(ctx, again) != nil {
				return
			}
		}
	})
}

// followAll takes up the approvals that nobody here waits for, after a start or a change of leader, and asks
// once for the flows of those that have ended.
func (e *Engine) followAll(ctx context.Context) error {
	keys, err := e.dueApprovals.due(ctx, e.Now(), source{
		list: func(ctx context.Context) ([]string, error) { return e.approvals.List(ctx) },
		next: func(ctx context.Context, key string) (time.Time, error) {
			a, err := e.approvals.Get(ctx, key)
			if err != nil || a == nil || (!a.Open && len(a.Late) == 0) {
				return time.Time{}, err
			}
			return e.Now(), nil
		},
		failed: func(key string, err error) {
			e.log().Error("an approval cannot be read", "approval", key, "error", err)
		},
	})
	for i, key := range keys {
		e.followAs(i, key)
		e.followers.start("ended "+key, func(ctx context.Context) {
			e.deps.Stagger(followTurn + len(keys) + i)
			if failed := e.askLate(ctx, key); failed != nil && ctx.Err() == nil {
				e.log().Debug("the flow of an approval that has ended cannot be asked for", "approval", key, "error", failed)
			}
		})
	}
	return err
}
