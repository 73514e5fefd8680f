// SPDX-License-Identifier: MPL-2.0

package mounttest

import (
	"slices"
	"strings"

	"vault-plugin-secrets-modal/internal/modalapi"
)

// HoldsSecret reports whether a text contains something with the shape of a token secret, or a secret that the emulated
// Modal has issued or that tests bring, with or without its prefix. A failed check must not print the text.
func (m *Mount) HoldsSecret(text string) bool {
	return modalapi.HoldsSecret(text) || slices.ContainsFunc(append(m.Modal.Secrets(), SomeSecret), func(secret string) bool {
		return strings.Contains(text, strings.TrimPrefix(secret, "as-"))
	})
}
