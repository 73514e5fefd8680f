// SPDX-License-Identifier: MPL-2.0

package state

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
)

// TokenOwner says under a token's ID which role it was given to, so that finding a token's holder takes
// no scan. It counts only while that role's credential says the same.
type TokenOwner struct {
	Role string `json:"role"`
}

// Owners says which role, or config, a token belongs to. A token has one owner at most.
type Owners struct {
	mount      *Mount
	workspaces *Workspaces
	// AssignMu is held while a token changes its owner, so that no token gets two. Never across a call to Modal.
	AssignMu sync.Mutex
	// swept says that the notes of removed tokens are gone: see Sweep.
	swept bool
}

// NewOwners returns the owners of a mount's tokens.
func NewOwners(m *Mount, w *Workspaces) *Owners { return &Owners{mount: m, workspaces: w} }

// CheckFree refuses a token that cannot become name's, or the admin's when name is empty. verified says
// that Modal accepts the token, or will be asked before it is stored. A verified token takes its ID from a role
// that holds the ID unverified. The answer is final only while e.handover is held. The refusal names no other
// role: a caller who may bring a token to one role need not learn which other role has it.
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
	holder, err := o.OwnerOf(ctx, t.ID)
	if err != nil || holder == "" || holder == name {
		return err
	}
	if _, cred, failed := o.mount.Current(ctx, holder); failed != nil || (verified && cred != nil && !cred.Verified()) {
		return failed
	}
	return model.UserErrorf("token %s is the token of another role of this mount: one token has one role, so that rotating it breaks nobody else; "+
		"bring another token; nothing was changed", t.ID)
}

// checkNotQueued refuses a token that the engine has begun to end, and one whose secret nobody has verified in
// place of the secret that Modal has accepted.
func (o *Owners) checkNotQueued(ctx context.Context, t model.Token, name string, verified bool) error {
	entry, err := o.mount.Queue.Get(ctx, t.ID)
	switch {
	case err != nil || entry == nil:
		return err
	case !entry.MayReturn():
		return model.UserErrorf("token %s is in the revocation queue, and the engine ends it (%s%s): bring another token; nothing was changed",
			t.ID, entry.Reason, entry.WhoseFor(name))
	case !verified && entry.WasAccepted() && entry.Secret != t.Secret:
		return model.UserErrorf("token %s is in the revocation queue with another secret, which Modal has accepted: bring it back with verify=true; nothing was changed", t.ID)
	}
	return nil
}

// IsQueued reports whether a token may be in the revocation queue.
func (o *Owners) IsQueued(ctx context.Context, tokenID string) bool {
	entry, err := o.mount.Queue.Get(ctx, tokenID)
	return err != nil || entry != nil
}

// CheckNotLeased refuses the token of a lease, which ends with it: the ledger knows that by its service user.
func (o *Owners) CheckNotLeased(ctx context.Context, t model.Token) error {
	if t.IdentityType != modalapi.IdentityServiceUser {
		return nil
	}
	entry, err := o.mount.Queue.Get(ctx, t.Identity)
	if err != nil || entry == nil || !entry.Leased {
		return err
	}
	return model.UserErrorf("token %s is in the revocation queue, and the engine ends it with its lease: bring another token; nothing was changed", t.ID)
}

// OwnerOf is the role whose current token this is, "" for none.
func (o *Owners) OwnerOf(ctx context.Context, tokenID string) (string, error) {
	held, err := o.mount.TokenOwners.Get(ctx, tokenID)
	if err != nil || held == nil {
		return "", err
	}
	_, cred, err := o.mount.Current(ctx, held.Role)
	if err != nil || cred == nil || cred.ID != tokenID {
		return "", err
	}
	return held.Role, nil
}

// UserOf tells who uses the token of an entry of the ledger: "role ci", "config", or nobody.
func (o *Owners) UserOf(ctx context.Context, entry *model.Revocation) (string, error) {
	_, cred, err := o.mount.Current(ctx, entry.Role)
	if err != nil {
		return "", err
	}
	if entry.IsOf(cred) {
		return "role " + entry.Role, nil
	}
	if entry.ID == "" || (entry.Reason == model.ReasonUnfinished && !entry.Verified()) {
		return "", nil
	}
	cfg, err := o.mount.LoadConfig(ctx)
	if err != nil {
		return "", err
	}
	if cfg.AdminID() == entry.ID {
		return KeyConfig, nil
	}
	holder, err := o.OwnerOf(ctx, entry.ID)
	if err != nil || holder == "" {
		return "", err
	}
	return "role " + holder, nil
}

// Assign makes a token name's: under e.handover it runs the checks again, notes the holder, and lets the
// caller write the rest. A token that was in the ledger leaves it.
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
		// The write may have taken effect: then the note is needed.
		if holder, unknown := o.OwnerOf(ctx, t.ID); unknown == nil && holder == "" {
			o.restoreNote(ctx, t.ID, before)
		}
		return err
	}
	o.LeaveQueue(ctx, t.ID)
	o.logTakeover(ctx, t, name, before)
	o.workspaces.LearnFromRole(ctx, t)
	return nil
}

// restoreNote puts back the note of a token's holder after a write that failed. What stays is swept up.
func (o *Owners) restoreNote(ctx context.Context, tokenID string, before *TokenOwner) {
	if before == nil {
		_ = o.mount.TokenOwners.Delete(ctx, tokenID)
	} else {
		_ = o.mount.TokenOwners.Put(ctx, tokenID, before)
	}
}

// logTakeover tells the log that a verified token took its ID from a role that holds the ID unverified.
func (o *Owners) logTakeover(ctx context.Context, t model.Token, name string, before *TokenOwner) {
	if before == nil || before.Role == name {
		return
	}
	if _, cred, err := o.mount.Current(ctx, before.Role); err == nil && cred != nil && cred.ID == t.ID {
		pairs := []any{"role", before.Role, "token_id", t.ID, "verified_in", cmp.Or(name, KeyConfig)}
		o.mount.Log().Warn("a role holds, unverified, a token that is verified elsewhere", append(pairs, t.Account().LogPairs("")...)...)
	}
}

// Retire puts a token that left its place into the revocation queue, and reports whether it did. An unverified
// token gives way to a verified one of the same ID, which another role or config has, or the queue already.
func (o *Owners) Retire(ctx context.Context, old *model.Revocation) (queued bool, err error) {
	if !old.Verified() {
		cfg, err := o.mount.LoadConfig(ctx)
		if err != nil {
			return false, err
		}
		queued, err := o.mount.Queue.Get(ctx, old.ID)
		if err != nil || (queued != nil && queued.WasAccepted()) {
			return false, err
		}
		if elsewhere, err := o.IsVerifiedElsewhere(ctx, cfg, old.Role, old.ID); err != nil || elsewhere {
			return false, err
		}
	}
	return true, o.mount.Queue.Put(ctx, old.Key(), old)
}

// IsVerifiedElsewhere reports whether a token that a role holds unverified is the verified token of another role or
// of config.
func (o *Owners) IsVerifiedElsewhere(ctx context.Context, cfg *model.Config, name, tokenID string) (bool, error) {
	if cfg.AdminID() == tokenID {
		return true, nil
	}
	holder, err := o.OwnerOf(ctx, tokenID)
	return holder != "" && holder != name, err
}

// Recall completes a supplied token with what the revocation queue knows of it. The mount stays responsible for a service
// user that it created, whoever uses the token.
func (o *Owners) Recall(ctx context.Context, t *model.Token) error {
	entry, err := o.mount.Queue.Get(ctx, t.ID)
	switch {
	case err != nil || entry == nil:
	case entry.Verified() && !t.Verified() && entry.APIToken() == t.APIToken():
		*t = entry.Token
	default:
		t.CreatedByMount = t.CreatedByMount || entry.CreatedByMount
	}
	return err
}

// LeaveQueue takes a token that became current out of the ledger. If that fails the worker does it.
func (o *Owners) LeaveQueue(ctx context.Context, id string) {
	if err := o.RemoveRevocation(ctx, id); err != nil {
		o.mount.Log().Warn("the entry of a token that is current is left to the worker", "id", id, "error", err)
	}
}

// RemoveRevocation removes an entry from the revocation queue, and the note of its owner.
func (o *Owners) RemoveRevocation(ctx context.Context, id string) error {
	entry, err := o.mount.Queue.Get(ctx, id)
	if err != nil || entry == nil {
		return err
	}
	return o.mount.Queue.Delete(ctx, id)
}

// ForgetOwner drops the note of a token that has left a role, unless it is another's by now. The caller
// holds e.handover.
func (o *Owners) ForgetOwner(ctx context.Context, tokenID, name string) error {
	held, err := o.mount.TokenOwners.Get(ctx, tokenID)
	if err != nil || held == nil || held.Role != name {
		return err
	}
	return o.mount.TokenOwners.Delete(ctx, tokenID)
}

// Sweep drops, once after a start, the notes that a crash left: of tokens that are neither current
// nor in the ledger.
func (o *Owners) Sweep(ctx context.Context) error {
	if o.swept {
		return nil
	}
	ids, err := o.unusedNotes(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the next tick has time again
	}
	if err != nil {
		return err
	}
	failures := make([]error, len(ids))
	EachOf(ids, MaxConcurrentReads, func(i int, id string) { failures[i] = o.sweepNote(ctx, id) })
	if err = errors.Join(failures...); err != nil {
		o.mount.Log().Warn("notes of tokens that no role has are left for the next tick", "error", err)
		return nil
	}
	o.swept = true
	return nil
}

// unusedNotes are the notes of tokens that no role has, at a glance: sweepNote looks closer.
func (o *Owners) unusedNotes(ctx context.Context) ([]string, error) {
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

func (o *Owners) sweepNote(ctx context.Context, id string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	o.AssignMu.Lock()
	defer o.AssignMu.Unlock()
	entry, err := o.mount.Queue.Get(ctx, id)
	if err != nil || entry != nil {
		return err
	}
	holder, err := o.OwnerOf(ctx, id)
	if err != nil || holder != "" {
		return err
	}
	return o.mount.TokenOwners.Delete(ctx, id)
}
