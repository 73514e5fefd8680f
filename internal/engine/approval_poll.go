// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// flowWait is how long Modal is asked to wait with its answer, pollInterval how often the same is
// asked at the least.
const flowWait = 10 * time.Second

const pollInterval = time.Second

// flowRetry is how long after a failure Modal is asked again.
const flowRetry = 5 * time.Second

// pollers are the approvals that this node waits for, one goroutine each. None outlives close.
type pollers struct {
	mu      sync.Mutex
	running map[string]bool
	ctx     context.Context //nolint:containedctx // the mount's life
	stop    context.CancelFunc
	group   sync.WaitGroup
}

func newPollers() *pollers {
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // the mount outlives every request
	return &pollers{running: map[string]bool{}, ctx: ctx, stop: stop}
}

// start runs work for a key, unless that is under way or the mount is over.
func (f *pollers) start(key string, work func(ctx context.Context)) {
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

func (f *pollers) close() {
	f.mu.Lock()
	f.stop()
	f.mu.Unlock()
	f.group.Wait()
}

// poll waits in the background for an approval, until it has ended or can no longer be written here:
// the next tick, on the node that may write, takes it up again.
func (ap *Approvals) poll(key string) { ap.pollAs(0, key) }

// pollAs is follow for the nth of several approvals.
func (ap *Approvals) pollAs(n int, key string) {
	ap.pollers.start(key, func(ctx context.Context) {
		ap.mount.Stagger(state.PollTurn + n)
		for {
			again, err := ap.advance(ctx, key, flowWait)
			if ctx.Err() != nil || (err == nil && again == 0) || model.IsStorageError(err) {
				return
			}
			if err != nil {
				ap.mount.Log().Debug("an approval does not come on", "approval", key, "error", err)
			}
			if ap.mount.Wait(ctx, again) != nil {
				return
			}
		}
	})
}

// pollAll takes up the approvals that nobody here waits for, after a start or a change of leader, and asks
// once for the flows of those that have ended.
func (ap *Approvals) pollAll(ctx context.Context) error {
	keys, err := ap.mount.DueApprovals.Due(ctx, ap.mount.Now(), state.DueSource{
		List: func(ctx context.Context) ([]string, error) { return ap.mount.Approvals.List(ctx) },
		Next: func(ctx context.Context, key string) (time.Time, error) {
			a, err := ap.mount.Approvals.Get(ctx, key)
			if err != nil || a == nil || (!a.Open && len(a.EndedFlows) == 0) {
				return time.Time{}, err
			}
			return ap.mount.Now(), nil
		},
		Failed: func(key string, err error) {
			ap.mount.Log().Error("an approval cannot be read", "approval", key, "error", err)
		},
	})
	for i, key := range keys {
		ap.pollAs(i, key)
		ap.pollers.start("ended "+key, func(ctx context.Context) {
			ap.mount.Stagger(state.PollTurn + len(keys) + i)
			if failed := ap.askEndedFlows(ctx, key); failed != nil && ctx.Err() == nil {
				ap.mount.Log().Debug("the flow of an approval that has ended cannot be asked for", "approval", key, "error", failed)
			}
		})
	}
	return err
}
