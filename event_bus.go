// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strconv"

	"vault-plugin-secrets-modal/internal/engine"

	"github.com/hashicorp/vault/sdk/logical"
)

// operationKey has the operation that a request asked for, for the events that come of it.
type operationKey struct{}

// emit tells Vault's event bus. A failed delivery is no failure of the operation.
func (b *backend) emit(ctx context.Context, event engine.Event) {
	path, dataPath := event.Kind, ""
	switch event.Kind {
	case engine.EventConfigWrite:
		path = engine.KeyConfig
	case engine.EventRoleWrite:
		path, dataPath = prefixRoles+event.Role, prefixCreds+event.Role
	case engine.EventRoleDelete:
		path = prefixRoles + event.Role
	case engine.EventOutOfSync:
		path = "orphans"
	case engine.EventTokenRejected, engine.EventExpiryWarning:
		path = engine.KeyConfig
		if event.Role != "" {
			path, dataPath = prefixRotate+event.Role, prefixCreds+event.Role
		}
	case engine.EventApprovalBegin:
		path = "config/approval"
		if event.Role != "" {
			path = prefixRotate + event.Role + "/approval"
		}
	case engine.EventRotate, engine.EventRotateFail:
		path, dataPath = prefixRotate+event.Role, prefixCreds+event.Role
	case engine.EventRevoke, engine.EventRevokeFail, engine.EventRevokeManual:
		path = prefixRevocations + event.Entry
	}
	operation, _ := ctx.Value(operationKey{}).(logical.Operation)
	pairs := []string{logical.EventMetadataPath, path, logical.EventMetadataModified, strconv.FormatBool(event.Modified)}
	for _, field := range []struct{ name, value string }{
		{logical.EventMetadataDataPath, dataPath},
		{logical.EventMetadataOperation, string(operation)},
		{fieldRole, event.Role},
		{fieldTokenID, event.TokenID},
		{fieldPreviousTokenID, event.PreviousTokenID},
		{fieldProof, event.Proof},
	} {
		if field.value != "" {
			pairs = append(pairs, field.name, field.value)
		}
	}
	if event.Version > 0 {
		pairs = append(pairs, fieldVersion, strconv.Itoa(event.Version))
	}
	if err := logical.SendEvent(ctx, b, event.Kind, pairs...); err != nil {
		b.Logger().Debug("event not delivered", "type", event.Kind, "error", err)
	}
}
