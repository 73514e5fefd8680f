// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// maxTidied is how many orphans one request ends before it answers: the worker goes on with the rest.
const maxTidied = 100

// Orphan is a service user of this mount at Modal that Vault does not track. Age is how long ago Modal created it, by
// this node's clock; it is negative where that clock is behind Modal's. Accepted reports that an operator keeps it.
type Orphan struct {
	modalapi.ServiceUser

	Age      time.Duration
	Accepted bool
}

// isTooNewToJudge reports whether the service user may be one that another node is just creating.
func (o Orphan) isTooNewToJudge(now time.Time) bool {
	return now.Sub(o.CreatedAt).Abs() < unfinishedAfter
}

// Orphans returns all orphans by name, new ones too.
func (e *Engine) Orphans(ctx context.Context) ([]Orphan, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	return e.orphansOf(ctx, cfg)
}

// orphansOf returns the orphans at the server, and in the workspace, that cfg points to.
func (e *Engine) orphansOf(ctx context.Context, cfg *Config) ([]Orphan, error) {
	orphans, err := e.findOrphans(ctx, cfg)
	if errors.Is(err, errNoList) {
		return nil, Refusef("only an admin token that manages service users can list orphans, and config has none (%s): %s", err, e.writeAdmin())
	}
	if err != nil {
		return nil, fmt.Errorf("list the service users: %w", err)
	}
	stored, err := e.divergence.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	for i := range orphans {
		orphans[i].Accepted = stored != nil && slices.Contains(stored.Accepted, orphans[i].Name)
	}
	slices.SortFunc(orphans, func(x, y Orphan) int { return strings.Compare(x.Name, y.Name) })
	return orphans, nil
}

// TidyRequest is what a write to orphans asks for: to delete orphans, to keep them, or, as a dry run, to tell which they
// are. Names selects some; empty means all that nobody has accepted.
type TidyRequest struct {
	Names          []string
	DryRun, Accept bool
}

// Tidied is what a write to orphans came to. NotCompared is why there was no list of orphans, "" where there was one.
type Tidied struct {
	Chosen, Ended, Left []string
	OutOfSync           bool
	NotCompared         string
}

// Tidy deletes orphans, or keeps them, on an operator's word. Listing and deleting have a time; the worker deletes
// later what Modal did not delete by then.
func (e *Engine) Tidy(ctx context.Context, ask TidyRequest) (*Tidied, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, forceBudget)
	defer cancel()
	orphans, err := e.orphansOf(timed, cfg)
	if err != nil && ask.Accept && !ask.DryRun && len(ask.Names) == 0 && ctx.Err() == nil && !isStorageError(err) {
		return e.acceptUnseen(ctx, err)
	}
	if err != nil {
		return nil, err
	}
	chosen, err := ask.choose(orphans)
	if err != nil {
		return nil, err
	}
	done := &Tidied{}
	for _, orphan := range chosen {
		done.Chosen = append(done.Chosen, orphan.Name)
	}
	switch {
	case ask.DryRun:
	case ask.Accept:
		err = e.acceptOrphans(ctx, done.Chosen...)
	default:
		err = e.endOrphans(ctx, timed, cfg, chosen, done)
	}
	if err != nil {
		return nil, err
	}
	if !ask.DryRun {
		e.compareAgain(ctx)
	}
	done.OutOfSync, err = e.isOutOfSync(context.WithoutCancel(ctx))
	return done, err
}

// acceptUnseen ends the state out of sync on an operator's word where Modal gives no list. The next list that arrives is
// compared again.
func (e *Engine) acceptUnseen(ctx context.Context, cause error) (*Tidied, error) {
	unlock, err := e.lockComparison(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	stored, err := e.divergence.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	if stored != nil && !stored.Since.IsZero() {
		after := *stored
		after.Since = time.Time{}
		if err = e.divergence.Put(ctx, "", &after); err != nil {
			return nil, err
		}
		e.log().Warn("an operator ended the state out of sync, and nothing was compared", "error", cause)
	}
	e.guard.forget()
	return &Tidied{NotCompared: cause.Error()}, nil
}

// compareAgain compares after orphans were deleted or accepted, also for a caller that went away. If this comparison
// fails, the worker's next one tells.
func (e *Engine) compareAgain(ctx context.Context) {
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), briefBudget)
	defer cancel()
	if err := e.compareWithModal(brief); err != nil {
		e.log().Warn("orphans were deleted or accepted, and whether others are left is seen later", "error", err)
	}
}

func (ask TidyRequest) choose(orphans []Orphan) ([]Orphan, error) {
	if len(ask.Names) == 0 {
		return slices.DeleteFunc(orphans, func(orphan Orphan) bool { return orphan.Accepted }), nil
	}
	var chosen []Orphan
	for _, name := range ask.Names {
		at := slices.IndexFunc(orphans, func(orphan Orphan) bool { return orphan.Name == name })
		if at < 0 {
			return nil, Refusef("names: %q is no orphan of this mount; nothing was changed", modalapi.Redact(name))
		}
		chosen = append(chosen, orphans[at])
	}
	return chosen, nil
}

// acceptOrphans keeps orphans at Modal, and the mount goes on. An orphan may be the candidate of an unfinished creation:
// then its revocation goes first, so that the worker does not delete the candidate.
func (e *Engine) acceptOrphans(ctx context.Context, names ...string) error {
	unlock, err := e.lockComparison(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, name := range names {
		if err = e.dropCandidate(ctx, name); err != nil {
			return err
		}
	}
	stored, err := e.divergence.Get(ctx, "")
	if err != nil {
		return err
	}
	after := divergence{}
	if stored != nil {
		after = *stored
	}
	after.Accepted = slices.Compact(slices.Sorted(slices.Values(slices.Concat(after.Accepted, names))))
	e.log().Info("orphans accepted", "service_users", names)
	return e.divergence.Put(ctx, "", &after)
}

// dropCandidate removes the revocation of an unfinished creation that the engine has not begun to delete.
func (e *Engine) dropCandidate(ctx context.Context, name string) error {
	entry, err := e.revocations.Get(ctx, name)
	if err != nil || entry == nil || entry.Reason != reasonUnfinished || entry.Begun || entry.Forced {
		return err
	}
	return e.revocations.Delete(ctx, name)
}

// leaveUser lets the mount go on although Vault no longer tracks the service user of a revocation: it is an orphan from
// now on, and accepted.
func (e *Engine) leaveUser(ctx context.Context, entry *Revocation) error {
	if !strings.HasPrefix(entry.serviceUser(), e.namePrefix()) {
		return nil
	}
	return e.acceptOrphans(ctx, entry.Identity)
}

// endOrphans puts each orphan into the revocation queue, with the operator's order, and deletes it at the server where
// it was found, wherever config points by now. The worker deletes later what cannot be deleted now.
func (e *Engine) endOrphans(ctx, timed context.Context, cfg *Config, orphans []Orphan, done *Tidied) error {
	for _, orphan := range orphans {
		entry := newUnfinished("", "", orphan.Name, cfg, e.Now()).forced(e.Now())
		entry.Reason, entry.Leased, entry.IdentityID, entry.CreatedAt = reasonOrphan, true, orphan.ID, seconds(orphan.CreatedAt)
		if err := e.revocations.Put(ctx, entry.Key(), entry); err != nil {
			return err
		}
	}
	for i, orphan := range orphans {
		got := verdictUnknown
		if i < maxTidied && timed.Err() == nil {
			var err error
			if got, _, err = e.attend(timed, timed, orphan.Name, byForce); err != nil {
				e.log().Warn("the worker deletes an orphan later", "service_user", orphan.Name, "error", err)
			}
		}
		if got == verdictRevoked || got == verdictGone {
			done.Ended = append(done.Ended, orphan.Name)
		} else {
			done.Left = append(done.Left, orphan.Name)
		}
	}
	return nil
}
