// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// maxTidied is how many orphans one request ends before it answers: the worker goes on with the rest.
const maxTidied = 100

// Orphan is a service user of this mount at Modal that nothing here answers for. Accepted says that an
// operator left it there.
type Orphan struct {
	modalapi.ServiceUser

	Accepted bool
}

// Orphans are all that there are, by name.
func (e *Engine) Orphans(ctx context.Context) ([]Orphan, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	return e.orphansOf(ctx, cfg)
}

// orphansOf are those of the Modal, and of the workspace, that cfg points to.
func (e *Engine) orphansOf(ctx context.Context, cfg *Config) ([]Orphan, error) {
	users, err := e.orphans(ctx, cfg)
	if errors.Is(err, errNoFence) {
		return nil, Refusef("orphans are found with an admin token of an owner or manager, and config has none that Modal accepts for it: %s", e.writeAdmin())
	}
	if err != nil {
		return nil, fmt.Errorf("list the service users: %w", err)
	}
	stored, err := e.divergence.Get(ctx, "")
	if err != nil {
		return nil, err
	}
	orphans := make([]Orphan, len(users))
	for i, user := range users {
		orphans[i] = Orphan{user, stored != nil && slices.Contains(stored.Accepted, user.Name)}
	}
	slices.SortFunc(orphans, func(x, y Orphan) int { return strings.Compare(x.Name, y.Name) })
	return orphans, nil
}

// TidyRequest is what a write to orphans asks for: to end them, to leave them, or, as a dry run, to tell
// which they are. Names are some of them, empty for all that nobody has accepted.
type TidyRequest struct {
	Names          []string
	DryRun, Accept bool
}

// Tidied is what a write to orphans came to.
type Tidied struct {
	Chosen, Ended, Left []string
	OutOfSync           bool
}

// Tidy ends orphans, or accepts them, on an operator's word. Modal has a time to list and end them in; what
// it did not end by then is the worker's.
func (e *Engine) Tidy(ctx context.Context, ask TidyRequest) (*Tidied, error) {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return nil, err
	}
	timed, cancel := context.WithTimeout(ctx, forceBudget)
	defer cancel()
	orphans, err := e.orphansOf(timed, cfg)
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
		e.lookAgain(ctx)
	}
	done.OutOfSync, err = e.OutOfSync(context.WithoutCancel(ctx))
	return done, err
}

// lookAgain sees whether the mount goes on, also for somebody who went away. What was done is done: where
// this look fails, the worker's next tells.
func (e *Engine) lookAgain(ctx context.Context) {
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), briefBudget)
	defer cancel()
	if err := e.look(brief); err != nil {
		e.log().Warn("orphans are tidied, and whether there are others is seen later", "error", err)
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

// acceptOrphans leaves them at Modal, and the mount goes on.
func (e *Engine) acceptOrphans(ctx context.Context, names ...string) error {
	unlock, err := e.lockFence(ctx)
	if err != nil {
		return err
	}
	defer unlock()
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

// leaveUser has the mount go on although nothing answers for the service user of an entry any more: it is
// an orphan from here on, and meant to be.
func (e *Engine) leaveUser(ctx context.Context, entry *Revocation) error {
	if !strings.HasPrefix(entry.serviceUser(), e.namePrefix()) {
		return nil
	}
	return e.acceptOrphans(ctx, entry.Identity)
}

// endOrphans puts each into the ledger, with the operator's word, and ends it. They are of the Modal where
// they were found, wherever config points by now. What cannot be ended now is the worker's.
func (e *Engine) endOrphans(ctx, timed context.Context, cfg *Config, orphans []Orphan, done *Tidied) error {
	for _, orphan := range orphans {
		entry := newUnfinished("", orphan.Name, cfg, e.Now()).forced(e.Now())
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
				e.log().Warn("an orphan is left to the worker", "service_user", orphan.Name, "error", err)
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

// OutOfSync says whether the mount ends nothing by itself, as far as the last look told.
func (e *Engine) OutOfSync(ctx context.Context) (bool, error) {
	stored, err := e.divergence.Get(ctx, "")
	return stored != nil && !stored.Since.IsZero(), err
}
