// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"errors"
	"slices"
)

// holder says under a token's ID which role it was given to, so that finding a token's holder takes
// no scan. It counts only while that role's credential says the same.
type holder struct {
	Role string `json:"role"`
}

// current is a role and its token, or nil and nil for a role that does not exist: what a half-finished
// delete left behind is nobody's current token.
func (b *backend) current(ctx context.Context, name string) (*role, *credential, error) {
	r, err := b.roles.Get(ctx, name)
	if err != nil || r == nil {
		return nil, nil, err
	}
	cred, err := b.credentials.Get(ctx, name)
	if err != nil || cred == nil {
		return nil, nil, err
	}
	return r, cred, nil
}

// refuseHeld refuses a token that cannot become name's, or the admin's when name is empty. Its answer
// is final only while b.handover is held.
func (b *backend) refuseHeld(ctx context.Context, tokenID, name string) error {
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return err
	}
	if name != "" && cfg.adminID() == tokenID {
		return refusef("token %s is the admin token in config: a role would hand it to its readers; bring another token; nothing was changed", tokenID)
	}
	entry, err := b.revocations.Get(ctx, tokenID)
	if err != nil {
		return err
	}
	if entry != nil && !entry.mayReturnTo(name) {
		return refusef("token %s is in the ledger, and the engine ends it (%s of role %s): bring another token; nothing was changed",
			tokenID, entry.Reason, entry.Role)
	}
	holder, err := b.holderOf(ctx, tokenID)
	if err != nil || holder == "" || holder == name {
		return err
	}
	return refusef("token %s is already the token of role %s: one token has one role, so that rotating it breaks nobody else; "+
		"bring another token; nothing was changed", tokenID, holder)
}

// holderOf is the role whose current token this is, "" for none.
func (b *backend) holderOf(ctx context.Context, tokenID string) (string, error) {
	held, err := b.holders.Get(ctx, tokenID)
	if err != nil || held == nil {
		return "", err
	}
	_, cred, err := b.current(ctx, held.Role)
	if err != nil || cred == nil || cred.ID != tokenID {
		return "", err
	}
	return held.Role, nil
}

// heldBy tells who uses the token of an entry of the ledger: "role ci", "config", or nobody.
func (b *backend) heldBy(ctx context.Context, entry *revocation) (string, error) {
	_, cred, err := b.current(ctx, entry.Role)
	if err != nil {
		return "", err
	}
	if entry.isOf(cred) {
		return "role " + entry.Role, nil
	}
	if entry.ID == "" {
		return "", nil
	}
	cfg, err := b.loadConfig(ctx)
	if err != nil {
		return "", err
	}
	if cfg.adminID() == entry.ID {
		return keyConfig, nil
	}
	holder, err := b.holderOf(ctx, entry.ID)
	if err != nil || holder == "" {
		return "", err
	}
	return "role " + holder, nil
}

// hold makes a token name's: under b.handover it runs the checks again, notes the holder, and lets the
// caller write the rest. A token that was in the ledger leaves it.
func (b *backend) hold(ctx context.Context, tokenID, name string, write func() error) error {
	b.handover.Lock()
	defer b.handover.Unlock()
	if err := b.refuseHeld(ctx, tokenID, name); err != nil {
		return err
	}
	if err := b.holders.Put(ctx, tokenID, &holder{Role: name}); err != nil {
		return err
	}
	if err := write(); err != nil {
		// The write may have taken effect: then the note is needed.
		if holder, unknown := b.holderOf(ctx, tokenID); unknown == nil && holder == "" {
			_ = b.holders.Delete(ctx, tokenID) // what stays is swept up
		}
		return err
	}
	b.leaveLedger(ctx, tokenID)
	return nil
}

// leaveLedger takes a token that became current out of the ledger. If that fails the worker does it.
func (b *backend) leaveLedger(ctx context.Context, id string) {
	entry, err := b.revocations.Get(ctx, id)
	if err == nil && entry != nil {
		err = b.revocations.Delete(ctx, id)
	}
	if err != nil {
		b.log().Warn("the entry of a token that is current is left to the worker", "id", id, "error", err)
	}
}

// forgetHolder drops the note of a token that has left a role, unless it is another's by now. The caller
// holds b.handover.
func (b *backend) forgetHolder(ctx context.Context, tokenID, name string) error {
	held, err := b.holders.Get(ctx, tokenID)
	if err != nil || held == nil || held.Role != name {
		return err
	}
	return b.holders.Delete(ctx, tokenID)
}

// sweepNotes drops, once after a start, the notes that a crash left: of tokens that are neither current
// nor in the ledger.
func (b *backend) sweepNotes(ctx context.Context) error {
	if b.swept {
		return nil
	}
	ids, err := b.idleNotes(ctx)
	if err != nil {
		return err
	}
	failures := make([]error, len(ids))
	eachOf(ids, maxConcurrentReads, func(i int, id string) { failures[i] = b.sweepNote(ctx, id) })
	if err = errors.Join(failures...); err != nil {
		b.log().Warn("notes of tokens that no role has are left for the next tick", "error", err)
		return nil
	}
	b.swept = true
	return nil
}

// idleNotes are the notes of tokens that no role has, at a glance: sweepNote looks closer.
func (b *backend) idleNotes(ctx context.Context) ([]string, error) {
	ids, err := b.holders.List(ctx)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	names, err := b.roles.List(ctx)
	if err != nil {
		return nil, err
	}
	current := make([]string, len(names))
	eachOf(names, maxConcurrentReads, func(i int, name string) {
		if cred, err := b.credentials.Get(ctx, name); err == nil && cred != nil {
			current[i] = cred.ID
		}
	})
	used := map[string]bool{}
	for _, id := range current {
		used[id] = true
	}
	return slices.DeleteFunc(ids, func(id string) bool { return used[id] }), nil
}

func (b *backend) sweepNote(ctx context.Context, id string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	b.handover.Lock()
	defer b.handover.Unlock()
	entry, err := b.revocations.Get(ctx, id)
	if err != nil || entry != nil {
		return err
	}
	holder, err := b.holderOf(ctx, id)
	if err != nil || holder != "" {
		return err
	}
	return b.holders.Delete(ctx, id)
}
