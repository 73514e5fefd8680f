// SPDX-License-Identifier: MPL-2.0

package request

import "vault-plugin-secrets-modal/internal/modalapi"

// Messages about a token secret in a wrong place.
const (
	secretInField = "this has the shape of a token secret, which token_secret alone takes: replace that token if others can read this request"
	secretAsField = "the name of a field has the shape of a token secret: replace that token if others can read this request"
	SecretInPath  = "a part of the path has the shape of a token secret: replace that token if others can read Vault's log, because paths are logged"
)

// HoldsSecret reports whether a value holds a token secret, also in a list, or in a name or value of a map.
func HoldsSecret(value any) bool {
	switch value := value.(type) {
	case string:
		return modalapi.HoldsSecret(value)
	case []string:
		for _, item := range value {
			if HoldsSecret(item) {
				return true
			}
		}
	case []any:
		for _, item := range value {
			if HoldsSecret(item) {
				return true
			}
		}
	case map[string]any:
		for name, item := range value {
			if HoldsSecret(name) || HoldsSecret(item) {
				return true
			}
		}
	}
	return false
}
