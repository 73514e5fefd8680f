// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"cmp"
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

// refuseHeld refuses a token that cannot become name's, or the admin's when name is empty. verified says
// that Modal accepts the token, or will be asked before it is stored. A verified token takes its ID from a role
// that holds the ID unverified. The answer is final only while e.handover is held. The refusal names no other
// role: a caller who may bring a token to one role need not learn which other role has it.
func (e *Engine) refuseHeld(ctx context.Context, t Token, name string, verified bool) error {
	cfg, err := e.loadConfig(ctx)
	if err != nil {
		return err
	}
	if name != "" && cfg.adminID() == t.ID {
		return Refusef("token %s is the admin token in config: a role would return it to its readers; bring another token; nothing was changed", t.ID)
	}
	if err = e.refuseQueued(ctx, t, name, verified); err != nil {
		return err
	}
	holder, err := e.holderOf(ctx, t.ID)
	if err != nil || holder == "" || holder == name {
		return err
	}
	if _, cred, failed := e.current(ctx, holder); failed != nil || (verified && cred != nil && !cred.Verified()) {
		return failed
	}
	return Refusef("token %s is the token of another role of this mount: one token has one role, so that rotating it breaks nobody else; "+
		"bring another token; nothing was changed", t.ID)
}

// refuseQueued refuses a token that the engine has begun to end, and one whose secret nobody has verified in
// place of the secret that Modal has accepted.
func (e *Engine) refuseQueued(ctx context.Context, t Token, name string, verified bool) error {
	entry, err := e.revocations.Get(ctx, t.ID)
	switch {
	case err != nil || entry == nil:
		return err
	case !entry.mayReturn():
		return Refusef("token %s is in the revocation queue, and the engine ends it (%s%s): bring another token; nothing was changed",
			t.ID, entry.Reason, entry.whoseFor(name))
	case !verified && entry.known() && entry.Secret != t.Secret:
		return Refusef("token %s is in the revocation queue with another secret, which Modal has accepted: bring it back with verify=true; nothing was changed", t.ID)
	}
	return nil
}

// isQueued reports whether a token may be in the revocation queue.
func (e *Engine) isQueued(ctx context.Context, tokenID string) bool {
	entry, err := e.revocations.Get(ctx, tokenID)
	return err != nil || entry != nil
}

// whoseFor tells in a message whether a token was of the role that the caller writes, or of another one, which
// it does not name.
func (r *Revocation) whoseFor(name string) string {
	switch {
	case r.Role != "" && r.Role == name:
		return ", of this role"
	case r.Role != "":
		return ", of another role of this mount"
	}
	return ""
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
	return Refusef("token %s is in the revocation queue, and the engine ends it with its lease: bring another token; nothing was changed", t.ID)
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
	if err := errors.Join(e.refuseHeld(ctx, t, name, t.Verified()), e.refuseLeased(ctx, t)); err != nil {
		return err
	}
	before, err := e.holders.Get(ctx, t.ID)
	if err != nil {
		return err
	}
	if err = e.holders.Put(ctx, t.ID, &holder{Role: name}); err != nil {
		return err
	}
	if err = write(); err != nil {
		// The write may have taken effect: then the note is needed.
		if holder, unknown := e.holderOf(ctx, t.ID); unknown == nil && holder == "" {
			e.restoreNote(ctx, t.ID, before)
		}
		return err
	}
	e.leaveLedger(ctx, t.ID)
	e.tookOver(ctx, t, name, before)
	e.learnFromRole(ctx, t)
	return nil
}

// restoreNote puts back the note of a token's holder after a write that failed. What stays is swept up.
func (e *Engine) restoreNote(ctx context.Context, tokenID string, before *holder) {
	if before == nil {
		_ = e.holders.Delete(ctx, tokenID)
	} else {
		_ = e.holders.Put(ctx, tokenID, before)
	}
}

// tookOver tells the log that a verified token took its ID from a role that holds the ID unverified.
func (e *Engine) tookOver(ctx context.Context, t Token, name string, before *holder) {
	if before == nil || before.Role == name {
		return
	}
	if _, cred, err := e.current(ctx, before.Role); err == nil && cred != nil && cred.ID == t.ID {
		pairs := []any{"role", before.Role, "token_id", t.ID, "verified_in", cmp.Or(name, KeyConfig)}
		e.log().Warn("a role holds, unverified, a token that is verified elsewhere", append(pairs, t.Account().logged("")...)...)
	}
}

// retire puts a token that left its place into the revocation queue, and reports whether it did. An unverified
// token gives way to a verified one of the same ID, which another role or config has, or the queue already.
func (e *Engine) retire(ctx context.Context, old *Revocation) (queued bool, err error) {
	if !old.Verified() {
		cfg, err := e.loadConfig(ctx)
		if err != nil {
			return false, err
		}
		queued, err := e.revocations.Get(ctx, old.ID)
		if err != nil || (queued != nil && queued.known()) {
			return false, err
		}
		if elsewhere, err := e.heldElsewhere(ctx, cfg, old.Role, old.ID); err != nil || elsewhere {
			return false, err
		}
	}
	return true, e.revocations.Put(ctx, old.Key(), old)
}

// heldElsewhere reports whether a token that a role holds unverified is the verified token of another role or
// of config.
func (e *Engine) heldElsewhere(ctx context.Context, cfg *Config, name, tokenID string) (bool, error) {
	if cfg.adminID() == tokenID {
		return true, nil
	}
	holder, err := e.holderOf(ctx, tokenID)
	return holder != "" && holder != name, err
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
