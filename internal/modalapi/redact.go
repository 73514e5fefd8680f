// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"regexp"
	"strings"
	"unicode"
)

const (
	maxTextRunes = 300
	redacted     = "[redacted]"
)

// secretShapes are token secrets (as-), proxy token secrets (ws-), OAuth client secrets (ov-) and
// JWTs. After a letter or digit only a long run counts, so that words such as "atlas-production"
// stay readable.
var secretShapes = regexp.MustCompile(
	`(?:\b|_)(?:as|ws|ov)-[\w-]{6,}` +
		`|(?:as|ws|ov)-[\w-]{16,}` +
		`|eyJ[\w-]{6,}(?:\.[\w-]*)+`)

// Redact makes text from Modal fit to be logged and shown: one printable line of at most 300
// characters in which whatever looks like a secret is replaced. Token IDs stay.
func Redact(s string) string {
	// Unprintable characters go first, as one inside a secret would hide it from the pattern.
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	s = secretShapes.ReplaceAllString(strings.TrimSpace(s), redacted)
	if runes := []rune(s); len(runes) > maxTextRunes {
		s = string(runes[:maxTextRunes-1]) + "…"
	}
	return s
}
