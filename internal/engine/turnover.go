// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"context"
	"time"
)

// Turnover is a rotation that happened: the credential that is current now, and the token that left the
// role for the ledger, nil where none did. Changed says that the role has another token than before.
type Turnover struct {
	Changed  bool
	Cred     *Credential
	Old      *Revocation
	Grace    time.Duration
	Warnings []string
}

// announce tells the log and whoever listens of a rotation.
func (e *Engine) announce(ctx context.Context, name string, done *Turnover) {
	event := Event{Kind: EventRotate, Modified: true, Role: name, Version: done.Cred.Version, TokenID: done.Cred.ID, Account: done.Cred.Account()}
	if done.Old != nil {
		event.PreviousTokenID = done.Old.ID
	}
	e.log().Info("rotated", append([]any{"role", name, "version", event.Version, "token_id", event.TokenID, "previous_token_id", event.PreviousTokenID},
		event.Account.logged("")...)...)
	e.event(ctx, event)
	if done.Old != nil && done.Old.Method == methodManual {
		e.event(ctx, done.Old.event(EventRevokeManual))
	}
}
