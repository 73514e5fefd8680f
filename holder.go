// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"

	"github.com/hashicorp/vault/sdk/logical"
)

// holder says under a token's ID which role it was given to, so that finding a token's holder takes
// no scan. It counts only while that role's credential says the same.
type holder struct {
	Role string `json:"role"`
}

// current is a role and its token, or nil and nil for a role that does not exist: what a half-finished
// delete left behind is nobody's current token.
func (b *backend) current(ctx context.Context, s logical.Storage, name string) (*role, *credential, error) {
	r, err := b.roles.get(ctx, s, name)
	if err != nil || r == nil {
		return nil, nil, err
	}
	cred, err := b.credentials.get(ctx, s, name)
	if err != nil || cred == nil {
		return nil, nil, err
	}
	return r, cred, nil
}

// refuseHeld refuses a token that cannot become name's, or the admin's when name is empty. Its answer
// is final only while b.handover is held.
func (b *backend) refuseHeld(ctx context.Context, s logical.Storage, tokenID, name string) error {
	cfg, err := b.loadConfig(ctx, s)
	if err != nil {
		return err
	}
	if name != "" && cfg.adminID() == tokenID {
		return refusef("token %s is the admin token in config: a role would hand it to its readers; bring another token; nothing was changed", tokenID)
	}
	entry, err := b.revocations.get(ctx, s, tokenID)
	if err != nil {
		return err
	}
	if entry != nil {
		return refusef("token %s is in the ledger, waiting to be refused by Modal (%s of role %s): bring another token, "+
			"or forget it first with delete revocations/%s force=true; nothing was changed", tokenID, entry.Reason, entry.Role, tokenID)
	}
	held, err := b.holders.get(ctx, s, tokenID)
	if err != nil || held == nil || held.Role == name {
		return err
	}
	_, cred, err := b.current(ctx, s, held.Role)
	if err != nil {
		return err
	}
	if cred != nil && cred.ID == tokenID {
		return refusef("token %s is already the token of role %s: one token has one role, so that rotating it breaks nobody else; "+
			"bring another token; nothing was changed", tokenID, held.Role)
	}
	return nil
}

// hold makes a token name's: under b.handover it runs the checks again, notes the holder, and lets the
// caller write the rest.
func (b *backend) hold(ctx context.Context, s logical.Storage, tokenID, name string, write func() error) error {
	b.handover.Lock()
	defer b.handover.Unlock()
	if err := b.refuseHeld(ctx, s, tokenID, name); err != nil {
		return err
	}
	if err := b.holders.put(ctx, s, tokenID, &holder{Role: name}); err != nil {
		return err
	}
	return write()
}
