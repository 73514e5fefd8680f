// SPDX-License-Identifier: MPL-2.0

package state

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/store"
)

// TokenOwner is stored under a token's ID and says which role the token belongs to. So the engine finds a token's
// owner without a scan. It counts only while that role's credential contains the same token.
type TokenOwner struct {
	// Role is the name of the role.
	Role string `json:"role"`
}

// Owners tells which role, or config, a token belongs to. A token has at most one owner.
type Owners struct {
	mount      *Mount
	workspaces *Workspaces
	// AssignMu is locked while a token changes its owner, so that no token gets two owners. It must not be locked
	// during a call to Modal.
	AssignMu store.Mutex
	// swept says that Sweep has finished.
	swept bool
}

// NewOwners returns the owners of a mount's tokens.
func NewOwners(m *Mount, w *Workspaces) *Owners {
	return &Owners{mount: m, workspaces: w, AssignMu: store.NewMutex()}
}

// CheckFree refuses a token that cannot become the role's current token, or the admin token if name is empty.
// verified says that Modal accepts the token, or is asked before the token is stored. A verified token may replace
// the same token that another role stored unverified. The answer is final only while AssignMu is locked. The error
// names no other role: a caller who may write one role need not learn which other role has the token.
func (o *Owners) CheckFree(ctx context.Context, t model.Token, name string, verified bool) error {
	cfg, err := o.mount.LoadConfig(ctx)
	if err != nil {
		return err
	}
	if name != "" && cfg.AdminID() == t.ID {
		return model.UserErrorf("token %s is the admin token in config: a role would return it to its readers; bring another token; nothing was changed", t.ID)
	}
	if err = o.checkNotQueued(ctx, t, name, verified); err != nil {
		return err
	}
	owner, err := o.OwnerOf(ctx, t.ID)
	if err != nil || owner == "" || owner == name {
		return err
	}
	if _, cred, failed := o.mount.Current(ctx, owner); failed != nil || (verified && cred != nil && !cred.Verified()) {
		return failed
	}
	return model.UserErrorf("token %s already belongs to another role of this mount. A token belongs to one role, so that its rotation breaks no other consumer; "+
		"bring another token; nothing was changed", t.ID)
}

// checkNotQueued refuses a token that the engine has started to delete. It also refuses an unverified secret for a
// token in the queue whose other secret Modal has accepted.
func (o *Owners) checkNotQueued(ctx context.Context, t model.Token, name string, verified bool) error {
	entry, err := o.mount.Revocations.Get(ctx, t.ID)
	switch {
	case err != nil || entry == nil:
		return err
	case !entry.MayReturn():
		return model.UserErrorf("token %s is in the revocation queue, and the engine deletes it (%s%s): bring another token; nothing was changed",
			t.ID, entry.Reason, entry.WhoseFor(name))
	case !verified && entry.WasAccepted() && entry.Secret != t.Secret:
		return model.UserErrorf("token %s is in the revocation queue with another secret, which Modal has accepted: bring it back with verify=true; nothing was changed", t.ID)
	}
	return nil
}

// IsQueued reports whether a token is in the revocation queue. If storage fails, it says yes.
func (o *Owners) IsQueued(ctx context.Context, tokenID string) bool {
	entry, err := o.mount.Revocations.Get(ctx, tokenID)
	return err != nil || entry != nil
}

// CheckNotLeased refuses the token of a lease, because the token ends with the lease. The revocation queue has such
// tokens under the service user's name.
func (o *Owners) CheckNotLeased(ctx context.Context, t model.Token) error {
	if t.IdentityType != modalapi.IdentityServiceUser {
		return nil
	}
	entry, err := o.mount.Revocations.Get(ctx, t.Identity)
	if err != nil || entry == nil || !entry.Leased {
		return err
	}
	return model.UserErrorf("token %s belongs to a lease, and the engine deletes it when the lease ends: bring another token; nothing was changed", t.ID)
}

// OwnerOf returns the role whose current token this is. It returns "" if no role has the token.
func (o *Owners) OwnerOf(ctx context.Context, tokenID string) (string, error) {
	stored, err := o.mount.TokenOwners.Get(ctx, tokenID)
	if err != nil || stored == nil {
		return "", err
	}
	_, cred, err := o.mount.Current(ctx, stored.Role)
	if err != nil || cred == nil || cred.ID != tokenID {
		return "", err
	}
	return stored.Role, nil
}

// UserOf says who uses a revocation's token: "role ci", "config", or "" for nobody.
func (o *Owners) UserOf(ctx context.Context, entry *model.Revocation) (string, error) {
	_, cred, err := o.mount.Current(ctx, entry.Role)
	if err != nil {
		return "", err
	}
	if entry.IsOf(cred) {
		return "role " + entry.Role, nil
	}
	if entry.ID == "" || (entry.Reason == model.ReasonUnfinished && !entry.Verified()) {
		return o.userOfServiceUser(ctx, entry)
	}
	cfg, err := o.mount.LoadConfig(ctx)
	if err != nil {
		return "", err
	}
	if cfg.AdminID() == entry.ID {
		return KeyConfig, nil
	}
	owner, err := o.OwnerOf(ctx, entry.ID)
	if err != nil || owner == "" {
		return "", err
	}
	return "role " + owner, nil
}

// userOfServiceUser says who uses the service user of an unfinished creation. After a restored snapshot, an operator
// may have brought its token to another role or to config.
func (o *Owners) userOfServiceUser(ctx context.Context, entry *model.Revocation) (string, error) {
	cfg, err := o.mount.LoadConfig(ctx)
	if err != nil {
		return "", err
	}
	name := entry.ServiceUserName()
	switch {
	case name == "":
		return "", nil
	case cfg.Admin != nil && cfg.Admin.ServiceUserName() == name:
		return KeyConfig, nil
	}
	roles, err := o.mount.Credentials.List(ctx)
	if err != nil {
		return "", err
	}
	for _, role := range roles {
		if _, cred, err := o.mount.Current(ctx, role); err != nil {
			return "", err
		} else if cred != nil && cred.ServiceUserName() == name {
			return "role " + role, nil
		}
	}
	return "", nil
}

// Assign makes a token the role's. With AssignMu locked, it repeats the checks, stores the owner, and calls write,
// which stores the rest. If the token was in the revocation queue, Assign removes it from there.
func (o *Owners) Assign(ctx context.Context, t model.Token, name string, write func() error) error {
	o.AssignMu.Lock()
	defer o.AssignMu.Unlock()
	if err := errors.Join(o.CheckFree(ctx, t, name, t.Verified()), o.CheckNotLeased(ctx, t)); err != nil {
		return err
	}
	before, err := o.mount.TokenOwners.Get(ctx, t.ID)
	if err != nil {
		return err
	}
	if err = o.mount.TokenOwners.Put(ctx, t.ID, &TokenOwner{Role: name}); err != nil {
		return err
	}
	if err = write(); err != nil {
		// The write may have taken effect, and then the new owner must stay stored.
		if owner, unknown := o.OwnerOf(ctx, t.ID); unknown == nil && owner == "" {
			o.restoreOwner(ctx, t.ID, before)
		}
		return err
	}
	o.LeaveQueue(ctx, t.ID)
	o.logTakeover(ctx, t, name, before)
	o.workspaces.LearnFromRole(ctx, t)
	return nil
}

// restoreOwner restores a token's stored owner after a write that failed. If that fails too, Sweep deletes the wrong
// owner after the next start.
func (o *Owners) restoreOwner(ctx context.Context, tokenID string, before *TokenOwner) {
	if before == nil {
		_ = o.mount.TokenOwners.Delete(ctx, tokenID)
	} else {
		_ = o.mount.TokenOwners.Put(ctx, tokenID, before)
	}
}

// logTakeover logs that a role lost a token to another owner: the role has the token unverified, and the new owner
// verified it.
func (o *Owners) logTakeover(ctx context.Context, t model.Token, name string, before *TokenOwner) {
	if before == nil || before.Role == name {
		return
	}
	if _, cred, err := o.mount.Current(ctx, before.Role); err == nil && cred != nil && cred.ID == t.ID {
		pairs := []any{"role", before.Role, "token_id", t.ID, "verified_in", cmp.Or(name, KeyConfig)}
		o.mount.Log().Warn("a role has an unverified token that was verified elsewhere", append(pairs, t.Account().LogPairs("")...)...)
	}
}

// QueueRevocation puts a token that is no longer current into the revocation queue, and reports whether it did. It
// does not queue an unverified token if another role, config or the queue has the same token verified.
func (o *Owners) QueueRevocation(ctx context.Context, old *model.Revocation) (queued bool, err error) {
	if !old.Verified() {
		cfg, err := o.mount.LoadConfig(ctx)
		if err != nil {
			return false, err
		}
		queued, err := o.mount.Revocations.Get(ctx, old.ID)
		if err != nil || (queued != nil && queued.WasAccepted()) {
			return false, err
		}
		if elsewhere, err := o.IsVerifiedElsewhere(ctx, cfg, old.Role, old.ID); err != nil || elsewhere {
			return false, err
		}
	}
	return true, o.mount.Revocations.Put(ctx, old.Key(), old)
}

// IsVerifiedElsewhere reports whether a token that a role has unverified is also the token of another role or of
// config.
func (o *Owners) IsVerifiedElsewhere(ctx context.Context, cfg *model.Config, name, tokenID string) (bool, error) {
	if cfg.AdminID() == tokenID {
		return true, nil
	}
	owner, err := o.OwnerOf(ctx, tokenID)
	return owner != "" && owner != name, err
}

// Recall completes a supplied token from its revocation, if the token is in the revocation queue. This mount stays
// responsible for a service user that it created, whoever uses the token.
func (o *Owners) Recall(ctx context.Context, t *model.Token) error {
	entry, err := o.mount.Revocations.Get(ctx, t.ID)
	switch {
	case err != nil || entry == nil:
	case entry.Verified() && !t.Verified() && entry.APIToken() == t.APIToken():
		*t = entry.Token
	default:
		t.CreatedByMount = t.CreatedByMount || entry.CreatedByMount
	}
	return err
}

// LeaveQueue removes a token that became current from the revocation queue. If that fails, the worker removes it.
func (o *Owners) LeaveQueue(ctx context.Context, id string) {
	if err := o.RemoveRevocation(ctx, id); err != nil {
		o.mount.Log().Warn("could not remove the revocation of a current token, so the worker will", "id", id, "error", err)
	}
}

// RemoveRevocation removes a revocation from the queue, if it exists.
func (o *Owners) RemoveRevocation(ctx context.Context, id string) error {
	entry, err := o.mount.Revocations.Get(ctx, id)
	if err != nil || entry == nil {
		return err
	}
	return o.mount.Revocations.Delete(ctx, id)
}

// ForgetOwner deletes the stored owner of a token that has left a role, unless the token belongs to another role by
// now. The caller must have AssignMu locked.
func (o *Owners) ForgetOwner(ctx context.Context, tokenID, name string) error {
	stored, err := o.mount.TokenOwners.Get(ctx, tokenID)
	if err != nil || stored == nil || stored.Role != name {
		return err
	}
	return o.mount.TokenOwners.Delete(ctx, tokenID)
}

// Sweep deletes, once after a start, the stored owners that a crash left behind: of tokens that are neither current
// nor in the revocation queue.
func (o *Owners) Sweep(ctx context.Context) error {
	if o.swept {
		return nil
	}
	ids, err := o.unusedOwners(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the next tick has time again
	}
	if err != nil {
		return err
	}
	failures := make([]error, len(ids))
	EachOf(ids, MaxConcurrentReads, func(i int, id string) { failures[i] = o.sweepOwner(ctx, id) })
	if err = errors.Join(failures...); err != nil {
		o.mount.Log().Warn("could not delete the stored owners of unused tokens, so the next tick tries again", "error", err)
		return nil
	}
	o.swept = true
	return nil
}

// unusedOwners returns the IDs of tokens with a stored owner that seem to be no role's current token. sweepOwner
// checks each of them again.
func (o *Owners) unusedOwners(ctx context.Context) ([]string, error) {
	ids, err := o.mount.TokenOwners.List(ctx)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	names, err := o.mount.Roles.List(ctx)
	if err != nil {
		return nil, err
	}
	current := make([]string, len(names))
	EachOf(names, MaxConcurrentReads, func(i int, name string) {
		if cred, err := o.mount.Credentials.Get(ctx, name); err == nil && cred != nil {
			current[i] = cred.ID
		}
	})
	used := map[string]bool{}
	for _, id := range current {
		used[id] = true
	}
	return slices.DeleteFunc(ids, func(id string) bool { return used[id] }), nil
}

// sweepOwner deletes the stored owner of one token, if the token is unused.
func (o *Owners) sweepOwner(ctx context.Context, id string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	o.AssignMu.Lock()
	defer o.AssignMu.Unlock()
	entry, err := o.mount.Revocations.Get(ctx, id)
	if err != nil || entry != nil {
		return err
	}
	owner, err := o.OwnerOf(ctx, id)
	if err != nil || owner != "" {
		return err
	}
	return o.mount.TokenOwners.Delete(ctx, id)
}
