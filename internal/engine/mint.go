// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// minter creates service users, and their tokens, at Modal.
type minter struct {
	mount *state.Mount
	queue *revocation.Queue
	// creations are the service users that reads of dynamic roles are creating.
	creations creations
}

// mintTries is how many names are tried when Modal says that one is taken.
const mintTries = 3

const firstVerifyWait = 250 * time.Millisecond

const maxVerifyWait = 5 * time.Second

// candidate is a new service user's token that is no role's yet. Its entry in the ledger ends it unless
// the role's credential comes to hold it.
type candidate struct {
	model.Token
	entry    *model.Revocation
	warnings []string
	// asked and received are when the engine asked Modal for the token, and when it received it.
	asked, received time.Time
}

// mintRequest is what a service user is made for: the token of a managed role, or a lease of a dynamic one.
type mintRequest struct {
	name  string
	role  *model.Role
	life  time.Duration // zero for a token that does not expire
	lease bool
	// creating notes, for a lease, what this process is creating.
	creating *creating
}

func mintRequestFor(r *model.Role, name string) mintRequest {
	return mintRequest{name: name, role: r, life: r.Managed.TokenTTL}
}

// mint makes a service user for a role, gives it its environment roles, and sees Modal accept its
// token as what it should be. Nothing of a failed attempt is left at Modal, or the ledger has it. When
// the caller gives up it ends at once, as a Vault that seals or steps down waits for it. The caller
// holds the lock of the role, or of the lease.
func (mt *minter) mint(ctx context.Context, cfg *model.Config, o mintRequest) (*candidate, error) {
	if err := cfg.CheckRole(o.role); err != nil {
		return nil, err
	}
	a, err := mt.mount.Admin(cfg)
	if err != nil {
		return nil, err
	}
	defer a.Release()
	calls, cancel := context.WithTimeout(ctx, model.MintBudget)
	defer cancel()
	made, err := mt.create(ctx, calls, a, cfg, o)
	if err != nil {
		return nil, err
	}
	if err = mt.grantAndVerify(calls, a, cfg, made, o.role.Access()); err != nil {
		mt.rollback(ctx, made.entry)
		return nil, fmt.Errorf("the new service user %s was given up: %w", made.Identity, err)
	}
	if told := expiryWarning(o.life, made.Token, mt.mount.Now()); told != "" {
		made.warnings = append(made.warnings, told)
		mt.mount.Log().Warn("another expiry than asked for", "role", o.name, "token_id", made.ID, "warning", told)
	}
	if told := mt.mount.ClockWarning(o.name, made.Token); told != "" {
		made.warnings = append(made.warnings, told)
	}
	return made, nil
}

// create makes the service user under a name that nothing else has. The ledger knows the name before
// Modal does, and the pair as soon as it arrives.
func (mt *minter) create(ctx, calls context.Context, a *state.Admin, cfg *model.Config, o mintRequest) (*candidate, error) {
	for try := 1; ; try++ {
		entry := model.NewUnfinishedRevocation(o.name, o.role.GenerationID, mt.mount.ServiceUserName(o.name), cfg, mt.mount.Now())
		entry.Leased = o.lease
		if err := mt.storeUnfinished(ctx, o, entry); err != nil {
			return nil, err
		}
		user, asked := entry.Identity, mt.mount.Now()
		made, err := a.CreateServiceUser(calls, a.Token, modalapi.NewServiceUser{Name: user, Scoped: o.role.Access().Scoped, ExpiresIn: o.life})
		if err != nil {
			err = mt.settleFailedCreate(ctx, a, entry, err)
			if modalapi.KindOf(err) == modalapi.KindExists && try < mintTries {
				continue
			}
			return nil, fmt.Errorf("make service user %s: %w", user, a.Explain(err))
		}
		received := mt.mount.Now()
		arrived := *entry
		if flaw := made.Flaw(); flaw != "" {
			mt.rollback(ctx, &arrived)
			return nil, fmt.Errorf("make service user %s: %w", user, &model.UnusableError{Text: "Modal's answer cannot be used: " + flaw + "; try again"})
		}
		arrived.ID, arrived.Secret, arrived.ExpiresAt = made.Token.ID, made.Token.Secret, model.WholeSeconds(made.ExpiresAt)
		arrived.IdentityID = made.ID
		if err = mt.storeMinted(ctx, o, &arrived); err != nil {
			mt.rollback(ctx, &arrived)
			return nil, err
		}
		return &candidate{Token: arrived.Token, entry: &arrived, asked: asked, received: received}, nil
	}
}

// settleFailedCreate settles the ledger after a failed create. A clear refusal made nothing, and under a name
// that is taken there is somebody else's: the entry goes. Without a clear answer, as of one who is told to
// wait, the service user may exist, now or a moment later: what is found is ended, and the entry stays to
// look again.
func (mt *minter) settleFailedCreate(ctx context.Context, a *state.Admin, entry *model.Revocation, cause error) error {
	if !modalapi.MayBeDone(cause) {
		return errors.Join(cause, mt.mount.Queue.Delete(ctx, entry.Key()))
	}
	if user, err := a.FindServiceUser(ctx, entry.Identity); err == nil {
		found := *entry
		found.IdentityID = user.ID
		mt.rollback(ctx, &found)
	}
	return cause
}

// grantAndVerify waits until Modal accepts the new token as the service user that was asked for, gives the service user its
// environment roles, and waits until Modal tells them. The identity comes first: an answer to the creation that
// is about another service user must change nobody else's rights.
func (mt *minter) grantAndVerify(ctx context.Context, a *state.Admin, cfg *model.Config, made *candidate, access *model.Access) error {
	identified, granted := false, false
	for waited, wait := time.Duration(0), firstVerifyWait; ; wait = min(2*wait, maxVerifyWait) {
		var err error
		if !identified {
			err = mt.identify(ctx, a, cfg, made)
			identified = err == nil
		}
		if err == nil && !granted {
			_, err = setRoles(ctx, a, made.IdentityID, access.EnvironmentRoles)
			granted = err == nil
		}
		if err == nil {
			err = verifyRoles(ctx, a, made, access)
		}
		if err == nil || !isWorthWaiting(err) || waited+wait > model.MintBudget || mt.mount.Wait(ctx, wait) != nil {
			return err
		}
		waited += wait
	}
}

// expiryWarning tells, "" otherwise, when Modal set another end of a token's life than was asked for.
func expiryWarning(ttl time.Duration, t model.Token, now time.Time) string {
	switch {
	case ttl == 0 && !t.ExpiresAt.IsZero():
		return fmt.Sprintf("no token_ttl was asked for, and Modal lets the token expire on %s: the engine rotates before", t.ExpiresAt.Format(time.RFC3339))
	case ttl != 0 && t.ExpiresAt.IsZero():
		return fmt.Sprintf("token_ttl %s was asked for, and Modal says that the token does not expire", model.FormatDuration(ttl))
	case ttl != 0 && (t.Lifetime(now)-ttl).Abs() > max(time.Minute, ttl/20):
		return fmt.Sprintf("token_ttl %s was asked for, and Modal lets the token expire on %s", model.FormatDuration(ttl), t.ExpiresAt.Format(time.RFC3339))
	}
	return ""
}

// isWorthWaiting are the answers that a new token may get in its first seconds.
func isWorthWaiting(err error) bool {
	if unusable := (*model.UnusableError)(nil); errors.As(err, &unusable) {
		return unusable.Passing
	}
	kind := modalapi.KindOf(err)
	return kind == modalapi.KindUnavailable || kind == modalapi.KindNotFound
}

func mismatch(field, want, got string, passing bool) error {
	return &model.UnusableError{
		Passing: passing,
		Text: fmt.Sprintf("Modal accepts the new token with another %s than it should have: want %s, got %s",
			field, modalapi.Redact(want), modalapi.Redact(got)),
	}
}

// identify asks Modal with the new token whose it is. If the token belongs to another service user, the revocation
// forgets it: the engine then deletes the service user that it asked for, by its name, and no other.
func (mt *minter) identify(ctx context.Context, a *state.Admin, cfg *model.Config, made *candidate) error {
	who, err := a.WhoAmI(ctx, made.APIToken())
	if modalapi.KindOf(err) == modalapi.KindRefused {
		return &model.UnusableError{Text: "Modal does not accept the new token: " + modalapi.Said(err), Passing: true}
	}
	if err != nil {
		return fmt.Errorf("verify the new token: %w", err)
	}
	for _, check := range []struct{ field, want, got string }{
		{"workspace", cfg.Admin.WorkspaceID, who.WorkspaceID},
		{"identity type", string(modalapi.IdentityServiceUser), string(who.Kind)},
		{"service user name", made.Identity, who.Name},
		{"service user", made.IdentityID, who.ID},
	} {
		if check.want != check.got {
			made.entry = made.entry.WithoutToken()
			return mismatch(check.field, check.want, check.got, false)
		}
	}
	made.CreatedAt, made.LastVerified = model.WholeSeconds(who.CreatedAt), mt.mount.Now()
	made.WorkspaceID, made.Workspace = who.WorkspaceID, who.WorkspaceName
	if told := model.WholeSeconds(who.ExpiresAt); !told.IsZero() && (made.ExpiresAt.IsZero() || told.Before(made.ExpiresAt)) {
		made.ExpiresAt = told
	}
	made.Token = made.WithClockOffset(made.asked, made.received)
	if !made.ExpiresAt.IsZero() && made.Lifetime(mt.mount.Now()) <= 0 {
		return &model.UnusableError{Text: fmt.Sprintf("Modal says that the new token expired at %s, before Modal created it", made.ExpiresAt.Format(time.RFC3339))}
	}
	confirmed := *made.entry
	confirmed.Token = made.Token
	made.entry = &confirmed
	return nil
}

// rollback tries to end a candidate at once, by the ID of its service user where that arrived: Modal may
// not know a new one by name yet. What does not work stays in the ledger, due now.
func (mt *minter) rollback(ctx context.Context, entry *model.Revocation) {
	due := entry.DueNow(mt.mount.Now())
	due.DeletionStarted = true
	err := mt.rollbackLocked(ctx, due)
	if err != nil {
		mt.mount.Log().Warn("a service user that is not needed is left to the ledger", "service_user", due.Identity, "error", err)
	}
}

func (mt *minter) rollbackLocked(ctx context.Context, due *model.Revocation) error {
	if due.Leased {
		unlock, err := mt.mount.LockLease(context.WithoutCancel(ctx), due.Key())
		if err != nil {
			return err
		}
		defer unlock()
	}
	err := mt.mount.Queue.Put(ctx, due.Key(), due)
	if ctx.Err() != nil {
		return err
	}
	brief, cancel := context.WithTimeout(ctx, state.BriefBudget)
	defer cancel()
	_, _, failed := mt.queue.ProcessLocked(brief, due, revocation.OnRequest)
	return errors.Join(err, failed)
}
