// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
)

// turnover is a rotation that happened: the credential that is current now, and the token that left the
// role for the ledger, nil where none did.
type turnover struct {
	cred     *credential
	old      *revocation
	grace    time.Duration
	warnings []string
}

// announce tells the log and the event bus of a rotation.
func (b *backend) announce(ctx context.Context, name string, operation logical.Operation, done *turnover) {
	event := change{
		path: prefixRotate + name, dataPath: prefixCreds + name, operation: operation, modified: true,
		role: name, version: done.cred.Version, tokenID: done.cred.ID,
	}
	if done.old != nil {
		event.previousTokenID = done.old.ID
	}
	b.log().Info("rotated", "role", name, "version", event.version, "token_id", event.tokenID, "previous_token_id", event.previousTokenID)
	b.event(ctx, eventRotate, event)
	if done.old != nil && done.old.Method == methodManual {
		b.event(ctx, eventRevokeManual, change{
			path: prefixRevocations + done.old.key(), operation: operation, role: name, version: done.old.Version, tokenID: done.old.ID,
		})
	}
}

// answer tells of a rotation with IDs and times, never a secret.
func (t *turnover) answer(now time.Time) *logical.Response {
	data := t.cred.describe()
	data[fieldVersion] = int64(t.cred.Version)
	putTime(data, fieldLastVaultRotation, t.cred.LastRotation)
	putTime(data, fieldNextRotation, t.cred.NextRotation)
	if t.old != nil {
		data[fieldPreviousTokenID] = t.old.ID
		data[fieldGracePeriod] = int64(t.grace.Seconds())
		data[fieldMethod] = t.old.Method
		data[fieldNextStep] = t.old.nextStep(now)
		putTime(data, fieldNotBefore, t.old.NotBefore)
	}
	return &logical.Response{Data: data, Warnings: t.warnings}
}
