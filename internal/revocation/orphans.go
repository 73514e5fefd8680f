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

// maxEnded is how many orphans one request deletes before it answers. The worker deletes the rest.
const maxEnded = 100

// Orphan is a service user of this mount at Modal that Vault does not track. Age is the time since Modal created the
// service user, by this node's clock. Age is negative if that clock is behind Modal's. Accepted reports that an
// operator decided to keep the orphan.
type Orphan struct {
	modalapi.ServiceUser

	Age      time.Duration
	Accepted bool
}

// isTooNewToJudge reports whether another node may be creating the service user at this moment.
func (o Orphan) isTooNewToJudge(now time.Time) bool {
	return now.Sub(o.CreatedAt).Abs() < model.UnfinishedAfter
}

// Orphans lists and deletes the service users of this mount that Vault does not track.
type Orphans struct {
	mount   *state.Mount
	guard   *Guard
	revoker *Revoker
}

// NewOrphans returns the Orphans of a mount.
func NewOrphans(m *state.Mount, g *Guard, rv *Revoker) *Orphans {
	return &Orphans{mount: m, guard: g, revoker: rv}
}

// List returns all orphans sorted by name, including new ones.
func (o *Orphans) List(ctx context.Context) ([]Orphan, error) {
	cfg, err := o.mount.LoadConfig(ctx)
	if err != nil {
		return nil, err
	}
	return o.listAt(ctx, cfg)
}

// listAt returns the orphans at the server and in the workspace that cfg points to.
func (o *Orphans) listAt(ctx context.Context, cfg *model.Config) ([]Orphan, error) {
	orphans, err := o.guard.findOrphans(ctx, cfg)
	if errors.Is(err, errNoList) {
		return nil, model.UserErrorf("the orphans were not listed, because config has no admin token that can list service users (%s): %s", err, o.mount.Commands().WriteAdmin())
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

// CleanupRequest is a write to orphans: delete orphans, keep them (Accept), or only name them (DryRun). Names selects
// some orphans. Empty Names selects all orphans that no operator has accepted.
type CleanupRequest struct {
	Names          []string
	DryRun, Accept bool
}

// CleanupResult is the result of a write to orphans. NotCompared says why there was no list of orphans, or is empty.
type CleanupResult struct {
	Chosen, Ended, Left []string
	OutOfSync           bool
	NotCompared         string
}

// Cleanup deletes or keeps orphans for an operator. A time limit covers the list and the deletions. The worker later
// deletes the orphans that remain when the time is over. One request runs at a time, so that no request accepts an
// orphan that another request deletes.
func (o *Orphans) Cleanup(ctx context.Context, ask CleanupRequest) (*CleanupResult, error) {
	if !ask.DryRun {
		unlock, err := o.mount.LockCleanup(ctx)
		if err != nil {
			return nil, err
		}
		defer unlock()
	}
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

// acceptUnseen lets an operator end the state out of sync although Modal gives no list. The engine compares again as
// soon as a list arrives.
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
		o.mount.Log().Warn("an operator ended the state out of sync without a comparison", "error", cause)
	}
	o.guard.CompareAgain()
	return &CleanupResult{NotCompared: cause.Error()}, nil
}

// compareAgain compares after orphans were deleted or accepted, also if the caller was canceled. If this comparison
// fails, the worker's next comparison finds the orphans that are left.
func (o *Orphans) compareAgain(ctx context.Context) {
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), state.BriefBudget)
	defer cancel()
	if err := o.guard.Compare(brief); err != nil {
		o.mount.Log().Warn("orphans were deleted or accepted, but the comparison after that failed; the worker compares again", "error", err)
	}
}

// choose returns the orphans that the request selects.
func (ask CleanupRequest) choose(orphans []Orphan) ([]Orphan, error) {
	if len(ask.Names) == 0 {
		return slices.DeleteFunc(orphans, func(orphan Orphan) bool { return orphan.Accepted }), nil
	}
	var chosen []Orphan
	for i, name := range ask.Names {
		if slices.Contains(ask.Names[:i], name) {
			continue
		}
		at := slices.IndexFunc(orphans, func(orphan Orphan) bool { return orphan.Name == name })
		if at < 0 {
			return nil, model.UserErrorf("names: %q is not an orphan of this mount; nothing was changed", modalapi.Redact(name))
		}
		chosen = append(chosen, orphans[at])
	}
	return chosen, nil
}

// end puts each orphan into the revocation queue as forced, and deletes it at the server where it was found, even if
// config points elsewhere now. The worker later deletes the orphans that cannot be deleted now.
func (o *Orphans) end(ctx, timed context.Context, cfg *model.Config, orphans []Orphan, done *CleanupResult) error {
	for _, orphan := range orphans {
		entry := model.NewUnfinishedRevocation("", "", orphan.Name, cfg, o.mount.Now()).WithForce(o.mount.Now())
		// Leased gives the orphan a lock of its own: it has no role.
		entry.Reason, entry.Leased, entry.IdentityID, entry.CreatedAt = model.ReasonOrphan, true, orphan.ID, model.WholeSeconds(orphan.CreatedAt)
		if err := o.mount.Revocations.Put(ctx, entry.Key(), entry); err != nil {
			return err
		}
	}
	for i, orphan := range orphans {
		outcome := Unknown
		if i < maxEnded && timed.Err() == nil {
			var err error
			if outcome, _, err = o.revoker.Process(timed, timed, orphan.Name, ByForce); err != nil {
				o.mount.Log().Warn("the worker deletes an orphan later", "service_user", orphan.Name, "error", err)
			}
		}
		if outcome == Revoked || outcome == Gone {
			done.Ended = append(done.Ended, orphan.Name)
		} else {
			done.Left = append(done.Left, orphan.Name)
		}
	}
	return nil
}
