// SPDX-License-Identifier: MPL-2.0

package modalapi

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"
)

const (
	idPrefix     = "ak-"
	secretPrefix = "as-"
	// usualLength is what follows the prefix in every token seen so far; nothing promises it.
	usualLength = 22
	maxLength   = 256
)

// Token is a Modal account token. Whatever prints it shows the ID alone.
type Token struct{ ID, Secret string }

// String returns the token's ID.
func (t Token) String() string { return t.ID }

// Format writes the token's ID for every verb and flag, %#v included.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.ID) }

// LogValue logs the token's ID.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.ID) }

// MarshalJSON always fails: with the secret it would leak, and without it a stored token would be
// lost unnoticed.
func (t Token) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a Modal token is not encoded as a whole: name the fields to encode")
}

// ParseToken returns the token that an operator pasted, without surrounding white space, and
// warnings about what looks odd but may be right. Its errors are meant for the operator: they say
// what is wrong with token_id or token_secret and never repeat a value.
func ParseToken(id, secret string) (Token, []string, error) {
	t := Token{ID: strings.TrimSpace(id), Secret: strings.TrimSpace(secret)}
	if strings.HasPrefix(t.ID, secretPrefix) && strings.HasPrefix(t.Secret, idPrefix) {
		return Token{}, nil, errors.New(`token_id and token_secret are swapped: token_id takes the half that starts with "ak-", token_secret the one that starts with "as-"`)
	}
	if err := checkHalf("token_id", t.ID, idPrefix); err != nil {
		return Token{}, nil, err
	}
	if err := checkHalf("token_secret", t.Secret, secretPrefix); err != nil {
		return Token{}, nil, err
	}
	var warnings []string
	for _, half := range [][2]string{{"token_id", t.ID}, {"token_secret", t.Secret}} {
		if n := len(half[1]) - len(idPrefix); n != usualLength {
			warnings = append(warnings, fmt.Sprintf("%s has %d characters after its prefix where Modal's tokens have %d: check that it was pasted whole", half[0], n, usualLength))
		}
	}
	return t, warnings, nil
}

func checkHalf(field, value, prefix string) error {
	if value == "" {
		return fmt.Errorf("%s is missing: a token is a pair, give both halves", field)
	}
	if len(value) > maxLength {
		return fmt.Errorf("%s is %d bytes long, which no Modal token is: paste the value alone", field, len(value))
	}
	if at := strings.IndexFunc(value, notInToken); at >= 0 {
		return fmt.Errorf("%s contains %s: paste the value alone, it has only letters, digits, - and _", field, describe(value[at:]))
	}
	if strings.HasPrefix(value, "wk-") || strings.HasPrefix(value, "ws-") {
		return fmt.Errorf("%s belongs to a proxy token (wk-, ws-), which calls web endpoints: an account token (ak-, as-) is needed", field)
	}
	rest, ok := strings.CutPrefix(value, prefix)
	if !ok {
		return fmt.Errorf(`%s must start with %q: token_id takes the half that starts with "ak-", token_secret the one that starts with "as-"`, field, prefix)
	}
	if rest == "" {
		return fmt.Errorf("%s has nothing after %q: paste it whole", field, prefix)
	}
	return nil
}

func notInToken(r rune) bool {
	letterOrDigit := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !letterOrDigit && r != '-' && r != '_'
}

// describe names the kind of the first character of s, not the character: it may be part of a secret.
func describe(s string) string {
	switch r := []rune(s)[0]; {
	case r == '\n' || r == '\r':
		return "a line break"
	case unicode.IsSpace(r):
		return "white space"
	case unicode.IsControl(r):
		return "a control character"
	case strings.ContainsRune("\"'`“”‘’", r):
		return "a quote"
	case r > unicode.MaxASCII:
		return "a character outside ASCII"
	default:
		return "punctuation"
	}
}
