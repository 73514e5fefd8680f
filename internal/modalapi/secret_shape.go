// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"regexp"
	"slices"
	"strings"
)

// secretLength is the smallest number of letters and digits after the prefix of a secret. At least one of
// them must be an upper-case letter, so that "aws-infrastructuremonitoring" stays a name. Only one secret in
// 150,000 has no upper-case letter.
const secretLength = 22

// jwt matches a signed token. Modal's input plane accepts JWTs as credentials.
var jwt = regexp.MustCompile(`eyJ[\w-]{6,}(?:\.[\w-]*)+`)

// HoldsSecret reports whether text contains something with the shape of a token secret: "as-" and at least 22
// letters or digits, with at least one upper-case letter.
func HoldsSecret(text string) bool {
	return slices.ContainsFunc(shapesIn(text), func(place [2]int) bool { return strings.HasPrefix(text[place[0]:], secretPrefix) })
}

// shapesIn returns the places in s that have the shape of one of Modal's secrets, or of a JWT. If there is no
// such place, it allocates no memory. A regular expression would: Modal's lists of names are long.
func shapesIn(s string) (found [][2]int) {
	for i := range len(s) {
		if s[i] != '-' || !endsInPrefix(s[:i]) {
			continue
		}
		end, hasUpper := i+1, false
		for end < len(s) && isAlphanumeric(s[end]) {
			hasUpper = hasUpper || isUpper(s[end])
			end++
		}
		if hasUpper && end-i > secretLength {
			found = append(found, [2]int{i + 1 - len(secretPrefix), end})
		}
	}
	if strings.Contains(s, "eyJ") {
		for _, at := range jwt.FindAllStringIndex(s, -1) {
			found = append(found, [2]int{at[0], at[1]})
		}
	}
	return found
}

// endsInPrefix reports whether s ends in the letters of a secret's prefix. A token secret (as-) is found anywhere, the
// secret of a proxy token (ws-) or an OAuth client (ov-) at the beginning of a word.
func endsInPrefix(s string) bool {
	if strings.HasSuffix(s, "ws") || strings.HasSuffix(s, "ov") {
		return len(s) == 2 || !isAlphanumeric(s[len(s)-3])
	}
	return strings.HasSuffix(s, "as")
}

func isUpper(c byte) bool { return c >= 'A' && c <= 'Z' }

func isAlphanumeric(c byte) bool {
	return isUpper(c) || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')
}
