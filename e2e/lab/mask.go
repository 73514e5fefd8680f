// SPDX-License-Identifier: MPL-2.0

package lab

import "regexp"

// secret matches the secret half of Modal's tokens (as-…, proxy tokens' ws-…) and Vault's own
// tokens, up to the six characters that may be shown.
var secret = regexp.MustCompile(`\b((?:as-|ws-)\w{3}|hv[sb]\.\w\w)[\w-]+`)

// Mask replaces each token secret in a text by its first six characters and an ellipsis, so that
// people can tell two of them apart and nobody can use one.
func Mask(text string) string { return secret.ReplaceAllString(text, "$1…") }
