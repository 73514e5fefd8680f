// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strconv"

	"github.com/hashicorp/vault/sdk/logical"

	"vault-plugin-secrets-modal/internal/model"
	"vault-plugin-secrets-modal/internal/request"
	"vault-plugin-secrets-modal/internal/state"
)

// operationKey is the key of the requested operation in a context, for events. HandleRequest sets it.
type operationKey struct{}

// emit sends an event to Vault's event bus. The operation goes on if the delivery fails.
func (b *Backend) emit(ctx context.Context, event model.Event) {
	path, dataPath := event.Kind, ""
	switch event.Kind {
	case model.EventConfigWrite:
		path = state.KeyConfig
	case model.EventRoleWrite:
		path, dataPath = prefixRoles+event.Role, prefixCreds+event.Role
	case model.EventRoleDelete:
		path = prefixRoles + event.Role
	case model.EventOutOfSync:
		path = "orphans"
	case model.EventTokenRejected, model.EventExpiryWarning:
		path = state.KeyConfig
		if event.Role != "" {
			path, dataPath = prefixRotate+event.Role, prefixCreds+event.Role
		}
	case model.EventApprovalBegin:
		path = "config/approval"
		if event.Role != "" {
			path = prefixRotate + event.Role + "/approval"
		}
	case model.EventRotate, model.EventRotateFail:
		path, dataPath = prefixRotate+event.Role, prefixCreds+event.Role
	case model.EventRevoke, model.EventRevokeFail, model.EventRevokeManual:
		path = prefixRevocations + event.Entry
	}
	operation, _ := ctx.Value(operationKey{}).(logical.Operation)
	pairs := []string{logical.EventMetadataPath, path, logical.EventMetadataModified, strconv.FormatBool(event.Modified)}
	for _, field := range []struct{ name, value string }{
		{logical.EventMetadataDataPath, dataPath},
		{logical.EventMetadataOperation, string(operation)},
		{request.FieldRole, event.Role},
		{request.FieldTokenID, event.TokenID},
		{fieldPreviousTokenID, event.PreviousTokenID},
		{fieldProof, event.Proof},
		{fieldWorkspace, event.Account.Workspace},
		{fieldWorkspaceID, event.Account.WorkspaceID},
		{fieldIdentityType, string(event.Account.IdentityType)},
		{fieldIdentity, event.Account.Identity},
		{fieldIdentityID, event.Account.IdentityID},
	} {
		if field.value != "" {
			pairs = append(pairs, field.name, field.value)
		}
	}
	if event.Version > 0 {
		pairs = append(pairs, fieldVersion, strconv.Itoa(event.Version))
	}
	if err := logical.SendEvent(ctx, b, event.Kind, pairs...); err != nil {
		b.engine.Mount.Log().Debug("event not delivered", "type", event.Kind, "error", err)
	}
}
