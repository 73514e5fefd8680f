// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/engine"
)

// tokenView is all of a token that may be shown outside creds.
func tokenView(t engine.Token) map[string]any {
	data := map[string]any{fieldTokenID: t.ID, fieldVerified: t.Verified()}
	putText(data, fieldWorkspace, t.Workspace)
	putText(data, fieldWorkspaceID, t.WorkspaceID)
	putText(data, fieldIdentityType, string(t.IdentityType))
	putText(data, fieldIdentity, t.Identity)
	putText(data, fieldIdentityID, t.IdentityID)
	putTime(data, fieldCreatedAt, t.CreatedAt)
	putTime(data, fieldExpiresAt, t.ExpiresAt)
	return data
}

func putText(data map[string]any, key, value string) {
	if value = strings.TrimSpace(value); value != "" {
		data[key] = value
	}
}

// putCount leaves out a 0, which says nothing.
func putCount(data map[string]any, key string, count int64) {
	if count != 0 {
		data[key] = count
	}
}

func putTime(data map[string]any, key string, t time.Time) {
	if !t.IsZero() {
		data[key] = t.UTC().Format(time.RFC3339)
	}
}
