// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"fmt"
	"slices"
	"time"

	"vault-plugin-secrets-modal/internal/duration"
	"vault-plugin-secrets-modal/internal/model"
)

// shortLifeWarnings warns if the token of a static role expires before the role's rotation period is over.
func (rt *Rotations) shortLifeWarnings(name string, r *model.Role, t model.Token) []string {
	if r.Type != model.TypeStatic || t.ExpiresAt.IsZero() || !t.LocalExpiry().Before(rt.mount.Now().Add(r.RotationPeriod)) {
		return nil
	}
	rt.mount.Log().Warn("the token expires within the rotation period", "role", name, "token_id", t.ID, "expires_at", t.ExpiresAt)
	return []string{fmt.Sprintf("token %s expires on %s, before the role's rotation_period of %s is over: replace it before that with: %s",
		t.ID, t.ExpiresAt.Format(time.RFC3339), duration.Format(r.RotationPeriod), rt.mount.RotateCommand(r, name))}
}

// replace makes next the current token of a role. It writes, in this order: the new token's owner, the old token's
// revocation, the credential. The write of the credential is the rotation. The caller holds the role's lock.
func (rt *Rotations) replace(ctx context.Context, rotation *model.Rotation, next model.Token, reason string, grace time.Duration) (*RotationResult, error) {
	if rotation.HasNoToken() {
		return rt.storeFirst(ctx, rotation, next)
	}
	cred := rotation.Cred.Successor(rotation.Role, next, rt.mount.Now(), rt.mount.Jitter)
	old := model.NewRevocation(rotation.Name, rotation.Role, rotation.Cred, reason, rt.mount.Now(), grace)
	queued := false
	err := rt.owners.Assign(ctx, next, rotation.Name, func() (failed error) {
		if queued, failed = rt.owners.QueueRevocation(ctx, old); failed != nil {
			return failed
		}
		return rt.mount.Credentials.Put(ctx, rotation.Name, cred)
	})
	if err != nil {
		return nil, err
	}
	warnings := slices.Concat(rt.shortLifeWarnings(rotation.Name, rotation.Role, next), model.GraceWarnings(grace, rotation.Role.RefreshInterval))
	if !queued {
		warning := fmt.Sprintf("token %s was stored in this role with verify=false and is not revoked, because another role of this mount, config or the revocation queue has it as a verified token", old.ID)
		return &RotationResult{Changed: true, Cred: cred, Warnings: append(warnings, warning)}, nil
	}
	return &RotationResult{Changed: true, Cred: cred, Previous: old, Grace: grace, Warnings: warnings}, nil
}

// storeFirst gives its first token to a role that has no token.
func (rt *Rotations) storeFirst(ctx context.Context, rotation *model.Rotation, first model.Token) (*RotationResult, error) {
	cred := model.NewCredential(rotation.Role, first, rt.mount.Now(), rt.mount.Jitter)
	if err := rt.owners.Assign(ctx, first, rotation.Name, func() error { return rt.mount.Credentials.Put(ctx, rotation.Name, cred) }); err != nil {
		return nil, err
	}
	return &RotationResult{Changed: true, Cred: cred, Warnings: rt.shortLifeWarnings(rotation.Name, rotation.Role, first)}, nil
}
