// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// maxEnded is how many orphans one request ends before it answers: the worker goes on with the rest.
const maxEnded = 100

// Orphan is a service user of this mount at Modal that Vault does not track. Age is how long ago Modal created it, by
// this node's clock; it is negative where that clock is behind Modal's. Accepted reports that an operator keeps it.
type Orphan struct {
	modalapi.ServiceUser

	Age      time.Duration
	Accepted bool
}

// isTooNewToJudge reports whether the service user may be one that another node is just creating.
func (o Orphan) isTooNewToJudge(now time.Time) bool {
	return now.Sub(o.CreatedAt).Abs() < model.UnfinishedAfter
}

// Orphans lists and cleans up the service users of this mount that storage does not know.
type Orphans struct {
	mount *state.Mount
	guard *Guard
	queue *Queue
}

// NewOrphans returns the orphans of a mount.
func NewOrphans(m *state.Mount, g *Guard, q *Queue) *Orphans {
	return &Orphans{mount: m, guard: g, queue: q}
}

// List returns all orphans by name, new ones too.
func (o *Orphans) List(ctx context.Context) ([]Orphan, error) {
	cfg, err := o.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	return o.listAt(ctx, cfg)
}

// listAt returns the orphans at the server, and in the workspace, that cfg points to.
func (o *Orphans) listAt(ctx context.Context, cfg *model.Config) ([]Orphan, error) {
	orphans, err := o.guard.findOrphans(ctx, cfg)
	if errors.Is(err, errNoList) {
		return nil, model.UserErrorf("only an admin token that manages service users can list orphans, and config has none (%s): %s", err, o.mount.WriteAdmin())
	}
	if err != nil {
		return nil, fmt.Errorf("list the service users: %w", err)
	}
	stored, err := o.mount.OutOfSync.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	for i := range orphans {
		orphans[i].Accepted = stored != nil && slices.Contains(stored.Accepted, orphans[i].Name)
	}
	slices.SortFunc(orphans, func(x, y Orphan) int { return strings.Compare(x.Name, y.Name) })
	return orphans, nil
}

// CleanupRequest is what a write to orphans asks for: to delete orphans, to keep them, or, as a dry run, to tell which they
// are. Names selects some; empty means all that nobody has accepted.
type CleanupRequest struct {
	Names          []string
	DryRun, Accept bool
}

// CleanupResult is what a write to orphans came to. NotCompared is why there was no list of orphans, "" where there was one.
type CleanupResult struct {
	Chosen, Ended, Left []string
	OutOfSync           bool
	NotCompared         string
}

// Cleanup deletes orphans, or keeps them, on an operator's word. Listing and deleting have a time; the worker deletes
// later what Modal did not delete by then.
func (o *Orphans) Cleanup(ctx context.Context, ask CleanupRequest) (*CleanupResult, error) {
	cfg, err := o.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, state.ForceBudget)
	defer cancel()
	orphans, err := o.listAt(timed, cfg)
	if err != nil && ask.Accept && !ask.DryRun && len(ask.Names) == 0 && ctx.Err() == nil && !model.IsStorageError(err) {
		return o.acceptUnseen(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	chosen, err := ask.choose(orphans)
	if err != nil {
		return nil, err
	}
	done := &CleanupResult{}
	for _, orphan := range chosen {
		done.Chosen = append(done.Chosen, orphan.Name)
	}
	switch {
	case ask.DryRun:
	case ask.Accept:
		err = o.guard.Accept(ctx, done.Chosen...)
	default:
		err = o.end(ctx, timed, cfg, chosen, done)
	}
	if err != nil {
		return nil, err
	}
	if !ask.DryRun {
		o.compareAgain(ctx)
	}
	done.OutOfSync, err = o.mount.IsOutOfSync(context.WithoutCancel(ctx))
	return done, err
}

// acceptUnseen ends the state out of sync on an operator's word where Modal gives no list. The next list that arrives is
// compared again.
func (o *Orphans) acceptUnseen(ctx context.Context, cause error) (*CleanupResult, error) {
	unlock, err := o.guard.Lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	stored, err := o.mount.OutOfSync.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	if stored != nil && !stored.Since.IsZero() {
		after := *stored
		after.Since = time.Time{}
		if err = o.mount.OutOfSync.Put(ctx, "", &after); err != nil {
			return nil, err
		}
		o.mount.Log().Warn("an operator ended the state out of sync, and nothing was compared", "error", cause)
	}
	o.guard.Forget()
	return &CleanupResult{NotCompared: cause.Error()}, nil
}

// compareAgain compares after orphans were deleted or accepted, also for a caller that went away. If this comparison
// fails, the worker's next one tells.
func (o *Orphans) compareAgain(ctx context.Context) {
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), state.BriefBudget)
	defer cancel()
	if err := o.guard.Compare(brief); err != nil {
		o.mount.Log().Warn("orphans were deleted or accepted, and whether others are left is seen later", "error", err)
	}
}

func (ask CleanupRequest) choose(orphans []Orphan) ([]Orphan, error) {
	if len(ask.Names) == 0 {
		return slices.DeleteFunc(orphans, func(orphan Orphan) bool { return orphan.Accepted }), nil
	}
	var chosen []Orphan
	for _, name := range ask.Names {
		at := slices.IndexFunc(orphans, func(orphan Orphan) bool { return orphan.Name == name })
		if at < 0 {
			return nil, model.UserErrorf("names: %q is no orphan of this mount; nothing was changed", modalapi.Redact(name))
		}
		chosen = append(chosen, orphans[at])
	}
	return chosen, nil
}

// end puts each orphan into the revocation queue, with the operator's order, and deletes it at the server where
// it was found, wherever config points by now. The worker deletes later what cannot be deleted now.
func (o *Orphans) end(ctx, timed context.Context, cfg *model.Config, orphans []Orphan, done *CleanupResult) error {
	for _, orphan := range orphans {
		entry := model.NewUnfinishedRevocation("", "", orphan.Name, cfg, o.mount.Now()).WithForce(o.mount.Now())
		entry.Reason, entry.Leased, entry.IdentityID, entry.CreatedAt = model.ReasonOrphan, true, orphan.ID, model.WholeSeconds(orphan.CreatedAt)
		if err := o.mount.Queue.Put(ctx, entry.Key(), entry); err != nil {
			return err
		}
	}
	for i, orphan := range orphans {
		got := Unknown
		if i < maxEnded && timed.Err() == nil {
			var err error
			if got, _, err = o.queue.Process(timed, timed, orphan.Name, ByForce); err != nil {
				o.mount.Log().Warn("the worker deletes an orphan later", "service_user", orphan.Name, "error", err)
			}
		}
		if got == Revoked || got == Gone {
			done.Ended = append(done.Ended, orphan.Name)
		} else {
			done.Left = append(done.Left, orphan.Name)
		}
	}
	return nil
}
