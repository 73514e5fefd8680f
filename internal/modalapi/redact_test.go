// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func TestRedact_WhatLooksLikeASecretIsReplaced(t *testing.T) {
	t.Parallel()
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
	for in, want := range map[string]string{
		"wrong secret " + someSecret:                      "wrong secret [redacted]",
		"(" + someSecret + "," + someSecret + ")":         "([redacted],[redacted])",
		"x" + someSecret:                                  "x[redacted]",
		"secret_" + someSecret + ".":                      "secret[redacted].",
		"as-0123456789a\x00bcdefghijkl":                   "[redacted]",
		"as-0123456789a\u200bbcdefghijkl":                 "[redacted]",
		"proxy ws-0123456789abcdefghijKL":                 "proxy [redacted]",
		"oauth ov-0123456789abcdefghijKL":                 "oauth [redacted]",
		"jwt " + jwt + " expired":                         "jwt [redacted] expired",
		"Token " + someID + " not found":                  "Token " + someID + " not found",
		"environment \"atlas-production\" does not exist": "environment \"atlas-production\" does not exist",
		"two\r\nlines\tand \x1b[31mcolour\x1b[0m":         "two  lines and [31mcolour[0m",
		"  spaces around  ":                               "spaces around",
		"":                                                "",
	} {
		require.Equal(t, want, modalapi.Redact(in))
	}
}

func TestRedact_LongTextIsCutAfterItsSecretsAreGone(t *testing.T) {
	t.Parallel()
	short := modalapi.Redact(strings.Repeat("é", 290) + someSecret + strings.Repeat("é", 300))

	require.Equal(t, 300, utf8.RuneCountInString(short))
	require.NotContains(t, short, someSecret[:10])
	require.True(t, strings.HasSuffix(short, "…"))
}

func FuzzRedact(f *testing.F) {
	f.Add("", "")
	f.Add("secret_", "\n")
	f.Add("eyJhbGciOi.", ".x")
	f.Add("as-", "as-as-")
	f.Add("%22", "\x00")
	f.Add(strings.Repeat("a ", 150), "end")
	f.Fuzz(func(t *testing.T, before, after string) {
		out := modalapi.Redact(before + someSecret + after)

		require.NotContains(t, out, someSecret[3:])
		require.LessOrEqual(t, utf8.RuneCountInString(out), 300)
		require.True(t, utf8.ValidString(out))
		require.Equal(t, -1, strings.IndexFunc(out, func(r rune) bool { return !unicode.IsPrint(r) }))
		require.Equal(t, out, modalapi.Redact(out))
	})
}
