// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// RotationResult is a rotation that happened: the credential that is current now, and the token that left the
// role for the ledger, nil where none did. Changed says that the role has another token than before.
type RotationResult struct {
	Changed  bool
	Cred     *model.Credential
	Previous *model.Revocation
	Grace    time.Duration
	Warnings []string
}

// publish tells the log and whoever listens of a rotation.
func (rt *Rotations) publish(ctx context.Context, name string, done *RotationResult) {
	event := model.Event{Kind: model.EventRotate, Modified: true, Role: name, Version: done.Cred.Version, TokenID: done.Cred.ID, Account: done.Cred.Account()}
	if done.Previous != nil {
		event.PreviousTokenID = done.Previous.ID
	}
	rt.mount.Log().Info("rotated", append([]any{"role", name, "version", event.Version, "token_id", event.TokenID, "previous_token_id", event.PreviousTokenID},
		event.Account.LogPairs("")...)...)
	rt.mount.Publish(ctx, event)
	if done.Previous != nil && done.Previous.Method == model.MethodManual {
		rt.mount.Publish(ctx, done.Previous.Event(model.EventRevokeManual))
	}
}
