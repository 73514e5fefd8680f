// SPDX-License-Identifier: MPL-2.0

package revocation

import (
	"context"
	"fmt"

	"vault-plugin-secrets-modal/internal/modalapi"
	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/state"
)

// endServiceUser deletes, with the admin token, the service user that owns the token.
func (rv *Revoker) endServiceUser(ctx context.Context, cfg *model.Config, entry *model.Revocation) (Outcome, error) {
	if err := rv.mount.CheckReach(cfg, entry.Token); err != nil {
		return rv.orRejected(ctx, cfg, entry, err)
	}
	a, err := rv.mount.Admin(cfg)
	if err != nil {
		return rv.orRejected(ctx, cfg, entry, err)
	}
	defer a.Release()
	if used, failed := rv.isStillUsed(ctx, a, entry); failed != nil || used {
		return InUse.orUnknown(failed), failed
	}
	if err = rv.checkReplacementWorks(ctx, cfg, entry); err != nil {
		return rv.orRejected(ctx, cfg, entry, err)
	}
	if current, failed := rv.markDeletionStarted(ctx, entry); failed != nil || current {
		return Current, failed
	}
	acknowledged, err := deleteServiceUser(ctx, a, entry)
	if err != nil {
		return rv.orRejected(ctx, cfg, entry, err)
	}
	entry.Acknowledged = entry.Acknowledged || acknowledged
	return rv.prove(ctx, cfg, entry)
}

// deleteServiceUser deletes the service user that owns a token, by its ID. If Modal has not confirmed that the ID
// belongs to the service user's name, deleteServiceUser looks up the name instead, which is new and random. It
// reports whether Modal acknowledged the deletion. NOT_FOUND is no acknowledgement.
func deleteServiceUser(ctx context.Context, a *state.Admin, entry *model.Revocation) (acknowledged bool, err error) {
	id := entry.IdentityID
	if !entry.HasConfirmedID() {
		user, unknown := a.FindServiceUser(ctx, entry.Identity)
		if modalapi.KindOf(unknown) == modalapi.KindNotFound {
			return false, nil
		}
		if unknown != nil {
			return false, fmt.Errorf("look up service user %s: %w", entry.Identity, a.Explain(unknown))
		}
		id = user.ID
	}
	err = a.DeleteServiceUser(ctx, a.Token, id)
	switch modalapi.KindOf(err) {
	case modalapi.KindNotFound:
		return false, nil
	case modalapi.KindNone:
		return err == nil, err
	default:
		return false, fmt.Errorf("delete service user %s (%s): %w", entry.Identity, id, a.Explain(err))
	}
}
