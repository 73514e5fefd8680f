// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"errors"
	"slices"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// holder says under a token's ID which role it was given to, so that finding a token's holder takes
// no scan. It counts only while that role's credential says the same.
type holder struct {
	Role string `json:"role"`
}

// current is a role and its token, or nil and nil for a role that does not exist or has none yet: what a
// half-finished delete left behind is nobody's current token.
func (e *Engine) current(ctx context.Context, name string) (*Role, *Credential, error) {
	if name == "" { // config's
		return nil, nil, nil
	}
	r, err := e.roles.Get(ctx, name)
	if err != nil || r == nil {
		return nil, nil, err
	}
	cred, err := e.credentials.Get(ctx, name)
	if err != nil || cred == nil {
		return nil, nil, err
	}
	return r, cred, nil
}

// credential is what is stored of a role's token, current or not; nil for config's.
func (e *Engine) credential(ctx context.Context, name string) (*Credential, error) {
	if name == "" {
		return nil, nil //nolint:nilnil // no credential is no failure
	}
	return e.credentials.Get(ctx, name)
}

// refuseHeld refuses a token that cannot become name's, or the admin's when name is empty. Its answer
// is final only while e.handover is held.
func (e *Engine) refuseHeld(ctx context.Context, tokenID, name string) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	if name != "" && cfg.adminID() == tokenID {
		return Refusef("token %s is the admin token in config: a role would hand it to its readers; bring another token; nothing was changed", tokenID)
	}
	entry, err := e.revocations.Get(ctx, tokenID)
	if err != nil {
		return err
	}
	if entry != nil && !entry.mayReturn() {
		return Refusef("token %s is in the ledger, and the engine ends it (%s of %s): bring another token; nothing was changed",
			tokenID, entry.Reason, entry.whose())
	}
	holder, err := e.holderOf(ctx, tokenID)
	if err != nil || holder == "" || holder == name {
		return err
	}
	return Refusef("token %s is already the token of role %s: one token has one role, so that rotating it breaks nobody else; "+
		"bring another token; nothing was changed", tokenID, holder)
}

// refuseLeased refuses the token of a lease, which ends with it: the ledger knows that by its service user.
func (e *Engine) refuseLeased(ctx context.Context, t Token) error {
	if t.IdentityType != modalapi.IdentityServiceUser {
		return nil
	}
	entry, err := e.revocations.Get(ctx, t.Identity)
	if err != nil || entry == nil || !entry.Leased {
		return err
	}
	return Refusef("token %s is in the ledger, and the engine ends it (%s of %s): bring another token; nothing was changed", t.ID, entry.Reason, entry.whose())
}

// holderOf is the role whose current token this is, "" for none.
func (e *Engine) holderOf(ctx context.Context, tokenID string) (string, error) {
	held, err := e.holders.Get(ctx, tokenID)
	if err != nil || held == nil {
		return "", err
	}
	_, cred, err := e.current(ctx, held.Role)
	if err != nil || cred == nil || cred.ID != tokenID {
		return "", err
	}
	return held.Role, nil
}

// heldBy tells who uses the token of an entry of the ledger: "role ci", "config", or nobody.
func (e *Engine) heldBy(ctx context.Context, entry *Revocation) (string, error) {
	_, cred, err := e.current(ctx, entry.Role)
	if err != nil {
		return "", err
	}
	if entry.isOf(cred) {
		return "role " + entry.Role, nil
	}
	if entry.ID == "" || (entry.Reason == reasonUnfinished && !entry.Verified()) {
		return "", nil
	}
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return "", err
	}
	if cfg.adminID() == entry.ID {
		return KeyConfig, nil
	}
	holder, err := e.holderOf(ctx, entry.ID)
	if err != nil || holder == "" {
		return "", err
	}
	return "role " + holder, nil
}

// hold makes a token name's: under e.handover it runs the checks again, notes the holder, and lets the
// caller write the rest. A token that was in the ledger leaves it.
func (e *Engine) hold(ctx context.Context, t Token, name string, write func() error) error {
	e.handover.Lock()
	defer e.handover.Unlock()
	tokenID := t.ID
	if err := errors.Join(e.refuseHeld(ctx, tokenID, name), e.refuseLeased(ctx, t)); err != nil {
		return err
	}
	if err := e.holders.Put(ctx, tokenID, &holder{Role: name}); err != nil {
		return err
	}
	if err := write(); err != nil {
		// The write may have taken effect: then the note is needed.
		if holder, unknown := e.holderOf(ctx, tokenID); unknown == nil && holder == "" {
			_ = e.holders.Delete(ctx, tokenID) // what stays is swept up
		}
		return err
	}
	e.leaveLedger(ctx, tokenID)
	return nil
}

// recall completes a supplied token with what the revocation queue knows of it. The mount stays responsible for a service
// user that it created, whoever uses the token.
func (e *Engine) recall(ctx context.Context, t *Token) error {
	entry, err := e.revocations.Get(ctx, t.ID)
	switch {
	case err != nil || entry == nil:
	case entry.Verified() && !t.Verified() && entry.pair() == t.pair():
		*t = entry.Token
	default:
		t.Made = t.Made || entry.Made
	}
	return err
}

// leaveLedger takes a token that became current out of the ledger. If that fails the worker does it.
func (e *Engine) leaveLedger(ctx context.Context, id string) {
	if err := e.removeEntry(ctx, id); err != nil {
		e.log().Warn("the entry of a token that is current is left to the worker", "id", id, "error", err)
	}
}

func (e *Engine) removeEntry(ctx context.Context, id string) error {
	entry, err := e.revocations.Get(ctx, id)
	if err != nil || entry == nil {
		return err
	}
	return e.revocations.Delete(ctx, id)
}

// forgetHolder drops the note of a token that has left a role, unless it is another's by now. The caller
// holds e.handover.
func (e *Engine) forgetHolder(ctx context.Context, tokenID, name string) error {
	held, err := e.holders.Get(ctx, tokenID)
	if err != nil || held == nil || held.Role != name {
		return err
	}
	return e.holders.Delete(ctx, tokenID)
}

// sweepNotes drops, once after a start, the notes that a crash left: of tokens that are neither current
// nor in the ledger.
func (e *Engine) sweepNotes(ctx context.Context) error {
	if e.swept {
		return nil
	}
	ids, err := e.idleNotes(ctx)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // the next tick has time again
	}
	if err != nil {
		return err
	}
	failures := make([]error, len(ids))
	eachOf(ids, maxConcurrentReads, func(i int, id string) { failures[i] = e.sweepNote(ctx, id) })
	if err = errors.Join(failures...); err != nil {
		e.log().Warn("notes of tokens that no role has are left for the next tick", "error", err)
		return nil
	}
	e.swept = true
	return nil
}

// idleNotes are the notes of tokens that no role has, at a glance: sweepNote looks closer.
func (e *Engine) idleNotes(ctx context.Context) ([]string, error) {
	ids, err := e.holders.List(ctx)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	names, err := e.roles.List(ctx)
	if err != nil {
		return nil, err
	}
	current := make([]string, len(names))
	eachOf(names, maxConcurrentReads, func(i int, name string) {
		if cred, err := e.credentials.Get(ctx, name); err == nil && cred != nil {
			current[i] = cred.ID
		}
	})
	used := map[string]bool{}
	for _, id := range current {
		used[id] = true
	}
	return slices.DeleteFunc(ids, func(id string) bool { return used[id] }), nil
}

func (e *Engine) sweepNote(ctx context.Context, id string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e.handover.Lock()
	defer e.handover.Unlock()
	entry, err := e.revocations.Get(ctx, id)
	if err != nil || entry != nil {
		return err
	}
	holder, err := e.holderOf(ctx, id)
	if err != nil || holder != "" {
		return err
	}
	return e.holders.Delete(ctx, id)
}
