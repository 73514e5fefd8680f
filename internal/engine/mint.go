// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"vault-plugin-secrets-modal/internal/duration"
	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/revocation"
	"vault-plugin-secrets-modal/internal/state"
)

// minter creates service users and their tokens at Modal.
type minter struct {
	mount   *state.Mount
	revoker *revocation.Revoker
	// creations are the service users that reads of dynamic roles are creating.
	creations creations
}

// mintTries is how many names the engine tries if Modal says that a name exists.
const mintTries = 3

const firstVerifyWait = 250 * time.Millisecond

const maxVerifyWait = 5 * time.Second

// candidate is a new service user with its token. The engine deletes the service user, unless a role or a lease gets the
// token.
type candidate struct {
	model.Token
	entry    *model.Revocation
	warnings []string
	// asked and received are the times when the engine asked Modal for the token and when it received the token.
	asked, received time.Time
}

// mintRequest asks for a service user: for the token of a managed role, or for a lease of a dynamic role.
type mintRequest struct {
	name  string
	role  *model.Role
	life  time.Duration // zero for a token that does not expire
	lease bool
	// label is the middle part of the service user's name before unusable characters are replaced.
	label string
	// creating collects, for a lease, the names that this process is creating.
	creating *creating
}

// mintRequestFor returns the request for the next token of a managed role.
func mintRequestFor(r *model.Role, name string) mintRequest {
	return mintRequest{name: name, role: r, life: r.Managed.TokenTTL, label: name}
}

// mint creates a service user for a role, gives it its environment roles, and waits until Modal accepts its token as
// that service user. A failed attempt leaves nothing at Modal, or leaves a revocation. If the caller gives up, mint
// ends at once, because a Vault that seals or steps down waits for it. For a managed role the caller holds the role's
// lock.
func (mt *minter) mint(ctx context.Context, cfg *model.Config, ask mintRequest) (*candidate, error) {
	if err := cfg.CheckRole(ask.role); err != nil {
		return nil, err
	}
	a, err := mt.mount.Admin(cfg)
	if err != nil {
		return nil, err
	}
	defer a.Release()
	calls, cancel := context.WithTimeout(ctx, model.MintBudget)
	defer cancel()
	created, err := mt.create(ctx, calls, a, cfg, ask)
	if err != nil {
		return nil, err
	}
	if err = mt.grantAndVerify(calls, a, cfg, created, ask.role.Access()); err != nil {
		mt.rollback(ctx, created.entry)
		return nil, fmt.Errorf("the engine gave up the new service user %s: %w", created.Identity, err)
	}
	if warning := mt.expiryWarning(cfg, ask.life, created.Token); warning != "" {
		created.warnings = append(created.warnings, warning)
		mt.mount.Log().Warn("modal set another expiry than the engine asked for", "role", ask.name, "token_id", created.ID, "warning", warning)
	}
	if warning := mt.mount.ClockWarning(ask.name, created.Token); warning != "" {
		created.warnings = append(created.warnings, warning)
	}
	return created, nil
}

// create stores the service user's name in the revocation queue, and then calls Modal. When the token arrives, create
// stores it in the same revocation.
func (mt *minter) create(ctx, calls context.Context, a *state.Admin, cfg *model.Config, ask mintRequest) (*candidate, error) {
	for try := 1; ; try++ {
		entry := model.NewUnfinishedRevocation(ask.name, ask.role.GenerationID, mt.mount.ServiceUserName(ask.name, ask.label), cfg, mt.mount.Now())
		entry.Leased = ask.lease
		if err := mt.storeUnfinished(ctx, ask, entry); err != nil {
			return nil, err
		}
		user, asked := entry.Identity, mt.mount.Now()
		created, err := a.CreateServiceUser(calls, a.Token, modalapi.NewServiceUser{Name: user, Scoped: ask.role.Access().Scoped, ExpiresIn: ask.life})
		if err != nil {
			err = mt.afterFailedCreate(ctx, a, entry, err)
			if modalapi.KindOf(err) == modalapi.KindExists && try < mintTries {
				continue
			}
			return nil, fmt.Errorf("create service user %s: %w", user, a.Explain(err))
		}
		received := mt.mount.Now()
		arrived := *entry
		if flaw := created.Flaw(); flaw != "" {
			mt.rollback(ctx, &arrived)
			return nil, fmt.Errorf("create service user %s: %w", user, &model.UnusableError{Text: "Modal's answer cannot be used: " + flaw + "; try again"})
		}
		arrived.ID, arrived.Secret, arrived.ExpiresAt = created.Token.ID, created.Token.Secret, model.WholeSeconds(created.ExpiresAt)
		arrived.IdentityID = created.ID
		if err = mt.storeMinted(ctx, ask, &arrived); err != nil {
			mt.rollback(ctx, &arrived)
			return nil, err
		}
		return &candidate{Token: arrived.Token, entry: &arrived, asked: asked, received: received}, nil
	}
}

// afterFailedCreate updates the revocation queue after a failed creation. If Modal clearly refused, nothing was
// created, and an existing service user of that name belongs to somebody else. So the revocation is removed. Without
// a clear answer the service user may exist now or a moment later. afterFailedCreate deletes a service user that it
// finds. The revocation stays, so that the worker looks again.
func (mt *minter) afterFailedCreate(ctx context.Context, a *state.Admin, entry *model.Revocation, cause error) error {
	if !modalapi.MayBeDone(cause) {
		return errors.Join(cause, mt.mount.Revocations.Delete(ctx, entry.Key()))
	}
	if user, err := a.FindServiceUser(ctx, entry.Identity); err == nil {
		found := *entry
		found.IdentityID = user.ID
		mt.rollback(ctx, &found)
	}
	return cause
}

// grantAndVerify waits until Modal accepts the new token as the expected service user, gives the service user its
// environment roles, and waits until Modal reports them. The identity comes first. If Modal's answer to the creation
// named another service user, that service user's rights must not change.
func (mt *minter) grantAndVerify(ctx context.Context, a *state.Admin, cfg *model.Config, created *candidate, access *model.Access) error {
	identified, granted := false, false
	for waited, wait := time.Duration(0), firstVerifyWait; ; wait = min(2*wait, maxVerifyWait) {
		var err error
		if !identified {
			err = mt.identify(ctx, a, cfg, created)
			identified = err == nil
		}
		if err == nil && !granted {
			_, err = setRoles(ctx, a, created.IdentityID, access.EnvironmentRoles)
			granted = err == nil
		}
		if err == nil {
			err = verifyRoles(ctx, a, created, access)
		}
		if err == nil || !isWorthWaiting(err) || waited+wait > model.MintBudget || mt.mount.Wait(ctx, wait) != nil {
			return err
		}
		waited += wait
	}
}

// expiryWarning returns a warning if Modal set another expiry than the engine asked for, and "" otherwise.
func (mt *minter) expiryWarning(cfg *model.Config, ttl time.Duration, t model.Token) string {
	switch now := mt.mount.Now(); {
	case ttl == 0 && !t.ExpiresAt.IsZero():
		return mt.mount.NotePausedIn(cfg, fmt.Sprintf("the role has no token_ttl, but Modal lets the token expire on %s: the engine rotates the role before that", t.ExpiresAt.Format(time.RFC3339)))
	case ttl != 0 && t.ExpiresAt.IsZero():
		return fmt.Sprintf("the engine asked for token_ttl %s, but Modal says that the token does not expire", duration.Format(ttl))
	case ttl != 0 && (t.Lifetime(now)-ttl).Abs() > max(time.Minute, ttl/20):
		return fmt.Sprintf("the engine asked for token_ttl %s, but Modal lets the token expire on %s", duration.Format(ttl), t.ExpiresAt.Format(time.RFC3339))
	}
	return ""
}

// isWorthWaiting reports whether Modal may give another answer about a new token a few seconds later.
func isWorthWaiting(err error) bool {
	if unusable := (*model.UnusableError)(nil); errors.As(err, &unusable) {
		return unusable.Passing
	}
	kind := modalapi.KindOf(err)
	return kind == modalapi.KindUnavailable || kind == modalapi.KindNotFound
}

// mismatch returns the error for a new token whose property is not the expected one.
func mismatch(field, want, got string, passing bool) error {
	return &model.UnusableError{
		Passing: passing,
		Text: fmt.Sprintf("Modal accepts the new token, but with another %s than expected: want %s, got %s",
			field, modalapi.Redact(want), modalapi.Redact(got)),
	}
}

// identify asks Modal with the new token who owns it. If the token belongs to another service user, identify removes
// the token from the revocation. The engine then deletes, by name, only the service user that it asked for.
func (mt *minter) identify(ctx context.Context, a *state.Admin, cfg *model.Config, created *candidate) error {
	who, err := a.WhoAmI(ctx, created.APIToken())
	if modalapi.KindOf(err) == modalapi.KindRefused {
		return &model.UnusableError{Text: "Modal does not accept the new token: " + modalapi.Said(err), Passing: true}
	}
	if err != nil {
		return fmt.Errorf("verify the new token: %w", err)
	}
	for _, check := range []struct{ field, want, got string }{
		{"workspace", cfg.Admin.WorkspaceID, who.WorkspaceID},
		{"identity type", string(modalapi.IdentityServiceUser), string(who.Kind)},
		{"service user name", created.Identity, who.Name},
		{"service user", created.IdentityID, who.ID},
	} {
		if check.want != check.got {
			created.entry = created.entry.WithoutToken()
			return mismatch(check.field, check.want, check.got, false)
		}
	}
	created.CreatedAt, created.LastVerified = model.WholeSeconds(who.CreatedAt), mt.mount.Now()
	created.WorkspaceID, created.Workspace = who.WorkspaceID, who.WorkspaceName
	if reported := model.WholeSeconds(who.ExpiresAt); !reported.IsZero() && (created.ExpiresAt.IsZero() || reported.Before(created.ExpiresAt)) {
		created.ExpiresAt = reported
	}
	created.Token = created.WithClockOffset(created.asked, created.received)
	if !created.ExpiresAt.IsZero() && created.Lifetime(mt.mount.Now()) <= 0 {
		return &model.UnusableError{Text: fmt.Sprintf("Modal says that the new token expired at %s, before Modal created it", created.ExpiresAt.Format(time.RFC3339))}
	}
	confirmed := *created.entry
	confirmed.Token = created.Token
	created.entry = &confirmed
	return nil
}

// rollback tries to delete a candidate at once. It uses the ID of the service user if that arrived, because Modal may
// not know a new service user by name yet. If the deletion fails, the candidate stays in the revocation queue and is
// due.
func (mt *minter) rollback(ctx context.Context, entry *model.Revocation) {
	due := entry.DueNow(mt.mount.Now())
	due.DeletionStarted = true
	err := mt.rollbackLocked(ctx, due)
	if err != nil {
		mt.mount.Log().Warn("an unneeded service user could not be deleted now; the worker deletes it later", "service_user", due.Identity, "error", err)
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
	err := mt.mount.Revocations.Put(ctx, due.Key(), due)
	if ctx.Err() != nil {
		return err
	}
	brief, cancel := context.WithTimeout(ctx, state.BriefBudget)
	defer cancel()
	_, _, failed := mt.revoker.ProcessLocked(brief, due, revocation.OnRequest)
	return errors.Join(err, failed)
}

// storeUnfinished stores the revocation of a service user that is about to be created. For a dynamic role with
// max_leases it first counts the leases under the role's lock, so that concurrent reads stay within the limit. It
// refuses if the role was changed while the read waited for the lock.
func (mt *minter) storeUnfinished(ctx context.Context, ask mintRequest, entry *model.Revocation) error {
	if ask.lease {
		ask.creating.add(entry.Key()) // before other reads can see the revocation
	}
	if !ask.lease || ask.role.Dynamic.MaxLeases == 0 {
		return mt.mount.Revocations.Put(ctx, entry.Key(), entry)
	}
	unlock, err := mt.mount.LockRole(ctx, ask.name)
	if err != nil {
		return err
	}
	defer unlock()
	current, err := mt.mount.Roles.Get(ctx, ask.name)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(current, ask.role) {
		return changedMeanwhile(ask.name)
	}
	if err = mt.checkLimit(ctx, ask); err != nil {
		return err
	}
	return mt.mount.Revocations.Put(ctx, entry.Key(), entry)
}

// storeMinted stores the token that Modal created. It refuses if an operator has forced the end of the lease
// meanwhile.
func (mt *minter) storeMinted(ctx context.Context, ask mintRequest, minted *model.Revocation) error {
	if !ask.lease {
		return mt.mount.Revocations.Put(ctx, minted.Key(), minted)
	}
	unlock, err := mt.mount.LockLease(ctx, minted.Key())
	if err != nil {
		return err
	}
	defer unlock()
	pending, err := mt.mount.Revocations.Get(ctx, minted.Key())
	if err != nil {
		return err
	}
	if pending == nil || pending.Forced || pending.DeletionStarted {
		return model.UserErrorf("an operator ended service user %s before its lease began: read again", minted.Identity)
	}
	return mt.mount.Revocations.Put(ctx, minted.Key(), minted)
}
