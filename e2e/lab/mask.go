// SPDX-License-Identifier: MPL-2.0

package lab

import "regexp"

// secret matches the secret half of Modal's tokens (as-…, proxy tokens' ws-…), the tokens of Vault (hvs.…) and
// OpenBao (s.…), and signed identity tokens (eyJ…). Its groups hold the first six characters, which may be shown.
var secret = regexp.MustCompile(`\b(?:((?:as-|ws-)\w{3}|hv[sb]\.\w\w)[\w-]+|([sb]\.\w{4})\w{18,}|(eyJ\w{3})[\w-]+\.[\w-]+\.[\w-]*)`)

// Mask replaces each token secret in a text by its first six characters and an ellipsis. People can tell two
// secrets apart, and nobody can use the rest.
func Mask(text string) string { return secret.ReplaceAllString(text, "${1}${2}${3}…") }
