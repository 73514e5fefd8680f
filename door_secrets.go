// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"regexp"
	"strings"
)

// secretShape is a token secret, alone or in a longer text. After a letter or digit only a long run
// counts, so that names such as "canvas-training" are none.
var secretShape = regexp.MustCompile(`(?i)(?:^|[^a-z0-9])as-[\w-]{6,}|as-[a-z0-9]{20,}`)

// longSecret is a whole token secret. The name of a service user can hold the shorter shape by chance.
var longSecret = regexp.MustCompile(`(?i)^as-[\w-]{6,}|as-[a-z0-9]{20,}`)

// secretForName is told where a name holds one.
const secretForName = "this has the shape of a token secret: replace that token if others can read what was written"

// holdsSecret looks for a token secret in a value, names and values of maps included.
func holdsSecret(value any) bool {
	switch value := value.(type) {
	case string:
		return strings.Contains(value, "-") && secretShape.MatchString(value)
	case []string:
		for _, item := range value {
			if holdsSecret(item) {
				return true
			}
		}
	case []any:
		for _, item := range value {
			if holdsSecret(item) {
				return true
			}
		}
	case map[string]any:
		for name, item := range value {
			if holdsSecret(name) || holdsSecret(item) {
				return true
			}
		}
	}
	return false
}
