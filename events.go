// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"context"
	"strconv"

	"github.com/hashicorp/vault/sdk/logical"
)

// Event types, as they appear on Vault's event bus.
const (
	eventConfigWrite   = "modal/config-write"
	eventExpiryWarning = "modal/expiry-warning"
	eventRoleWrite     = "modal/role-write"
	eventRoleDelete    = "modal/role-delete"
	eventRotate        = "modal/rotate"
	eventRotateFail    = "modal/rotate-fail"
	eventRevoke        = "modal/revoke"
	eventRevokeFail    = "modal/revoke-fail"
	eventRevokeManual  = "modal/revoke-manual"
)

// change is what an event tells. Empty fields are left out; there is none for a secret.
type change struct {
	path, dataPath  string
	operation       logical.Operation
	modified        bool
	role            string
	version         int
	tokenID         string
	previousTokenID string
}

// event tells Vault's event bus. A failed delivery is no failure of the operation.
func (b *backend) event(ctx context.Context, kind string, c change) {
	pairs := []string{logical.EventMetadataPath, c.path, logical.EventMetadataModified, strconv.FormatBool(c.modified)}
	for _, field := range []struct{ name, value string }{
		{logical.EventMetadataDataPath, c.dataPath},
		{logical.EventMetadataOperation, string(c.operation)},
		{fieldRole, c.role},
		{fieldTokenID, c.tokenID},
		{fieldPreviousTokenID, c.previousTokenID},
	} {
		if field.value != "" {
			pairs = append(pairs, field.name, field.value)
		}
	}
	if c.version > 0 {
		pairs = append(pairs, fieldVersion, strconv.Itoa(c.version))
	}
	if err := logical.SendEvent(ctx, b, kind, pairs...); err != nil {
		b.log().Debug("event not delivered", "type", kind, "error", err)
	}
}
