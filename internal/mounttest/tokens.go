// SPDX-License-Identifier: MPL-2.0

package mounttest

import "vault-plugin-secrets-modal/internal/modaltest"

// TokenData returns token_id and token_secret of a token as request data.
func TokenData(t modaltest.Token) map[string]any {
	return map[string]any{"token_id": t.ID, "token_secret": t.Secret}
}

// SomeID and SomeSecret have the shape of a token that Modal does not know.
const (
	SomeID     = "ak-AAAAAAAAAAAAAAAAAAAAAA"
	SomeSecret = "as-BBBBBBBBBBBBBBBBBBBBBB"
)

// TokenParameters returns an ID and a secret as request data.
func TokenParameters(id, secret string) map[string]any {
	return map[string]any{"token_id": id, "token_secret": secret}
}
