// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"sync"
	"time"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// flowWait is how long Modal may delay its answer about a flow.
const flowWait = 10 * time.Second

// pollInterval is the shortest time between two questions about the same approval.
const pollInterval = time.Second

// flowRetry is the time between a failure and the next question to Modal.
const flowRetry = 5 * time.Second

// pollers are the approvals that this node waits for, with one goroutine each. All goroutines end in close.
type pollers struct {
	mu      sync.Mutex
	running map[string]bool
	ctx     context.Context //nolint:containedctx // the mount's life
	stop    context.CancelFunc
	group   sync.WaitGroup
	// stagger is called with the name of the goroutine before its work: see state.Deps.
	stagger func(job string)
}

func newPollers(stagger func(job string)) *pollers {
	ctx, stop := context.WithCancel(context.Background()) //nolint:forbidigo // the mount outlives every request
	return &pollers{stagger: stagger, running: map[string]bool{}, ctx: ctx, stop: stop}
}

// start runs work for a key, unless work for that key is running or the mount has ended.
func (p *pollers) start(key string, work func(ctx context.Context)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running[key] || p.ctx.Err() != nil {
		return
	}
	p.running[key] = true
	p.group.Go(func() {
		p.stagger("approval " + key)
		work(p.ctx)
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.running, key)
	})
}

func (p *pollers) close() {
	p.mu.Lock()
	p.stop()
	p.mu.Unlock()
	p.group.Wait()
}

// poll waits in the background for an approval, until the approval has ended or this node can no longer write. The
// next tick on the active node then starts to wait again.
func (ap *Approvals) poll(key string) {
	ap.pollers.start(key, func(ctx context.Context) {
		for {
			again, err := ap.advance(ctx, key, flowWait)
			if ctx.Err() != nil || (err == nil && again == 0) || model.IsStorageError(err) {
				return
			}
			if err != nil {
				ap.mount.Log().Debug("an approval could not be advanced", "approval", key, "error", err)
			}
			if ap.mount.Wait(ctx, again) != nil {
				return
			}
		}
	})
}

// pollAll starts to wait for the approvals that this node does not wait for yet, as after a start or a change of
// leader. It also asks once about the flows of approvals that have ended.
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
	for _, key := range keys {
		ap.poll(key)
		ap.pollers.start("ended "+key, func(ctx context.Context) {
			if failed := ap.askEndedFlows(ctx, key); failed != nil && ctx.Err() == nil {
				ap.mount.Log().Debug("modal could not be asked about the flow of an approval that has ended", "approval", key, "error", failed)
			}
		})
	}
	return err
}
