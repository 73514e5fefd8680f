// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// RotationResult is the result of a rotation. Cred is the current credential. Previous is the revocation of the
// replaced token, or nil without a replaced token. Changed says that the role has another token than before.
type RotationResult struct {
	Changed  bool
	Cred     *model.Credential
	Previous *model.Revocation
	Grace    time.Duration
	Warnings []string
}

// publish logs a rotation and sends its events.
func (rt *Rotations) publish(ctx context.Context, name string, done *RotationResult) {
	event := model.Event{Kind: model.EventRotate, Modified: true, Role: name, Version: done.Cred.Version, TokenID: done.Cred.ID, Account: done.Cred.Account()}
	if done.Previous != nil {
		event.PreviousTokenID = done.Previous.ID
	}
	rt.mount.Log().Info("rotated", append([]any{"role", name, "version", event.Version, "token_id", event.TokenID, "previous_token_id", event.PreviousTokenID},
		event.Account.LogPairs("")...)...)
	rt.mount.Publish(ctx, event)
	rt.mount.PublishManual(ctx, done.Previous)
}
