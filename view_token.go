// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"time"

	"vault-plugin-secrets-modal/internal/model"
)

// tokenView is all of a token that may be shown outside creds.
func tokenView(t model.Token) map[string]any {
	data := map[string]any{fieldTokenID: t.ID, fieldVerified: t.Verified()}
	putAccount(data, t.Account())
	putTime(data, fieldCreatedAt, t.CreatedAt)
	putTime(data, fieldExpiresAt, t.ExpiresAt)
	return data
}

// putAccount tells whose a token is, as far as Modal was asked.
func putAccount(data map[string]any, account model.Account) {
	putText(data, fieldWorkspace, account.Workspace)
	putText(data, fieldWorkspaceID, account.WorkspaceID)
	putText(data, fieldIdentityType, string(account.IdentityType))
	putText(data, fieldIdentity, account.Identity)
	putText(data, fieldIdentityID, account.IdentityID)
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
