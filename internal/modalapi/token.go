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
	// usualLength is the number of characters after the prefix in every token seen so far. Modal does not
	// guarantee it.
	usualLength = 22
	maxLength   = 256
)

// Token is a Modal account token. All its text forms show only the ID.
type Token struct{ ID, Secret string }

// String returns the token's ID.
func (t Token) String() string { return t.ID }

// Format writes the token's ID for every verb and flag, including %#v.
func (t Token) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, t.ID) }

// LogValue returns the token's ID for structured logs.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.ID) }

// MarshalJSON always fails. JSON with the secret would leak it, and JSON without the secret would silently
// lose it from storage.
func (t Token) MarshalJSON() ([]byte, error) {
	return nil, errors.New("a Modal token cannot be encoded as JSON: encode its fields by name")
}

// ParseToken checks the token that an operator pasted. It returns the token without surrounding white space,
// and warnings about parts that look unusual but may be correct. Its errors are written for the operator.
// They name the problem with token_id or token_secret and never repeat a value.
func ParseToken(id, secret string) (Token, []string, error) {
	t := Token{ID: strings.TrimSpace(id), Secret: strings.TrimSpace(secret)}
	if strings.HasPrefix(t.ID, secretPrefix) && strings.HasPrefix(t.Secret, idPrefix) {
		return Token{}, nil, errors.New(`token_id and token_secret are swapped: token_id starts with "ak-" and token_secret with "as-"`)
	}
	if err := checkTokenField("token_id", t.ID, idPrefix); err != nil {
		return Token{}, nil, err
	}
	if err := checkTokenField("token_secret", t.Secret, secretPrefix); err != nil {
		return Token{}, nil, err
	}
	var warnings []string
	for _, field := range [][2]string{{"token_id", t.ID}, {"token_secret", t.Secret}} {
		if n := len(field[1]) - len(idPrefix); n != usualLength {
			warnings = append(warnings, fmt.Sprintf("%s has %d characters after its prefix, but Modal's tokens have %d: check that it was pasted completely", field[0], n, usualLength))
		}
	}
	return t, warnings, nil
}

func checkTokenField(field, value, prefix string) error {
	if value == "" {
		return fmt.Errorf("%s is missing", field)
	}
	if len(value) > maxLength {
		return fmt.Errorf("%s is %d bytes long, longer than any Modal token: paste only the value", field, len(value))
	}
	if at := strings.IndexFunc(value, notInToken); at >= 0 {
		return fmt.Errorf("%s contains %s: paste only the value, which has only letters, digits, - and _", field, describe(value[at:]))
	}
	if strings.HasPrefix(value, "wk-") || strings.HasPrefix(value, "ws-") {
		return fmt.Errorf("%s belongs to a proxy token (wk-, ws-), which is for web endpoints: give an account token (ak-, as-)", field)
	}
	rest, ok := strings.CutPrefix(value, prefix)
	if !ok {
		return fmt.Errorf(`%s must start with %q: token_id starts with "ak-" and token_secret with "as-"`, field, prefix)
	}
	if rest == "" {
		return fmt.Errorf("%s has no characters after %q: paste it completely", field, prefix)
	}
	return nil
}

func notInToken(r rune) bool {
	letterOrDigit := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
	return !letterOrDigit && r != '-' && r != '_'
}

// describe names the kind of the first character of s. It does not repeat the character, which may be part of
// a secret.
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
