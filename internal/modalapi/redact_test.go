// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func TestRedact_ReplacesTextThatLooksLikeASecret(t *testing.T) {
	t.Parallel()
	const jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl"
	for in, want := range map[string]string{
		"wrong secret " + someSecret:                      "wrong secret [redacted]",
		"(" + someSecret + "," + someSecret + ")":         "([redacted],[redacted])",
		"x" + someSecret:                                  "x[redacted]",
		"secret_" + someSecret + ".":                      "secret_[redacted].",
		"as-0123456789a\x00bcdefghijKL":                   "[redacted]",
		"as-0123456789a\u200bbcdefghijKL":                 "[redacted]",
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

// noSecrets are ordinary names and texts that only contain the prefix of a secret.
var noSecrets = []string{
	"aws-infrastructuremonitoring", "aws-productionenvironment", "news-recommendationservice",
	"windows-buildandreleasepipeline", "gov-documentclassification1", "aws-ProductionEnvironmentEurope1",
	"platform-as-a-service", "ml-as-a-service", "team-as-service", "data.as-platform", "pause-as-needed",
	"vault-0a1b2c3d-as-productionenvironmenteurope1-x1y2z3w4", "as-0123456789", "as-0123456789abcdefghijK",
	someID, "wk-0123456789abcdefghijKL", "",
}

func TestHoldsSecret_FindsOnlyTheShapeOfATokenSecret(t *testing.T) {
	t.Parallel()
	for _, text := range noSecrets {
		require.False(t, modalapi.HoldsSecret(text), text)
	}
	for _, text := range []string{
		someSecret, "x" + someSecret + "y", "token=" + someSecret + "\n", `{"main":"` + someSecret + `"}`,
		"as-0123456789abcdefghijklmnoP", "as-aaaaaaaaaaaaaaaaaaaaaaaas-0123456789abcdefghijKL",
	} {
		require.True(t, modalapi.HoldsSecret(text), text)
	}
}

func TestRedact_KeepsNamesThatOnlyContainAPrefix(t *testing.T) {
	t.Parallel()
	for _, text := range noSecrets {
		require.Equal(t, text, modalapi.Redact(text))
		require.Equal(t, text, modalapi.Redact(text, "as-FEDCBA9876543210fedcba"))
	}
}

func TestRedact_ReplacesSecretsThatShareLetters(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		"as-0123456789abcdefghijKLas-ZYXWVUTSRQponmlkjihg98",
		"as-aaaaaaaaaaaaaaaaaaaaaaaas-ZYXWVUTSRQponmlkjihg98",
		"as-as-ZYXWVUTSRQponmlkjihg98",
	} {
		require.NotContains(t, modalapi.Redact(text), "ZYXWVUTSRQ")
	}
}

func TestRedact_ShortensTextAfterReplacingSecrets(t *testing.T) {
	t.Parallel()
	short := modalapi.Redact(strings.Repeat("é", 140) + someSecret + strings.Repeat("é", 300))

	require.LessOrEqual(t, len(short), 300)
	require.Greater(t, len(short), 297)
	require.NotContains(t, short, someSecret[:10])
	require.True(t, strings.HasSuffix(short, "…"))
}

func FuzzRedact(f *testing.F) {
	f.Add("", "")
	f.Add("secret_", "\n")
	f.Add("eyJhbGciOi.", ".x")
	f.Add("as-", "as-as-")
	f.Add("000", "as-00000000")
	f.Add("%22", "\x00")
	f.Add(strings.Repeat("a ", 150), "end")
	f.Fuzz(func(t *testing.T, before, after string) {
		out := modalapi.Redact(before + someSecret + after)

		require.NotContains(t, out, someSecret[3:])
		require.LessOrEqual(t, len(out), 300)
		require.True(t, utf8.ValidString(out))
		require.Equal(t, -1, strings.IndexFunc(out, func(r rune) bool { return !unicode.IsPrint(r) }))
		require.Equal(t, out, modalapi.Redact(out))

		known := modalapi.Redact(before+spellings[len(before+after)%len(spellings)].spell(someSecret)+after, someSecret)
		require.NotContains(t, letters(known), letters(someSecret)[2:])
		require.LessOrEqual(t, len(known), 300)
		require.True(t, utf8.ValidString(known))
		require.Equal(t, known, modalapi.Redact(known, someSecret))
	})
}

// spellings are the ways in which a server may repeat a secret. Few of them have the shape of a token.
var spellings = []struct {
	name  string
	spell func(secret string) string
}{
	{"plain", func(s string) string { return s }},
	{"no prefix", func(s string) string { return s[3:] }},
	{"upper case", strings.ToUpper},
	{"lower case", strings.ToLower},
	{"escaped hyphen", func(s string) string { return "as%2D" + s[3:] }},
	{"escaped", func(s string) string { return percent(s, "%") }},
	{"escaped twice", func(s string) string { return percent(s, "%25") }},
	{"underscore", func(s string) string { return "as_" + s[3:] }},
	{"space after the prefix", func(s string) string { return "as- " + s[3:] }},
	{"quoted", func(s string) string { return `"as-""` + s[3:] + `"` }},
	{"odd hyphen", func(s string) string { return "as\u2011" + s[3:] }},
	{"no width after the prefix", func(s string) string { return "as-\u200b" + s[3:] }},
	{"no width in the middle", func(s string) string { return s[:12] + "\ufeff\u00ad\ufe0f" + s[12:] }},
	{"split", func(s string) string { return s[:8] + " " + s[8:] }},
	{"letter by letter", func(s string) string { return strings.Join(strings.Split(s, ""), ", ") }},
	{"over lines", func(s string) string { return s[:14] + "\r\n" + s[14:] }},
	{"wide", func(s string) string {
		return strings.Map(func(r rune) rune { return r + '！' - '!' }, s)
	}},
}

func percent(s, sign string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, "%s%02x", sign, c)
	}
	return b.String()
}

// letters returns the letters and digits of a text, which is all that somebody who searches for a secret
// needs.
func letters(s string) string {
	return strings.Map(func(r rune) rune {
		if r < 128 && (unicode.IsLetter(r) || unicode.IsDigit(r)) {
			return unicode.ToLower(r)
		}
		return -1
	}, s)
}

func TestRedact_FindsAKnownSecretInEverySpelling(t *testing.T) {
	t.Parallel()
	for _, c := range spellings {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			out := modalapi.Redact("bad "+c.spell(someSecret)+" for "+someID, someSecret)

			require.True(t, strings.HasPrefix(out, "bad "), out)
			require.True(t, strings.HasSuffix(out, "[redacted] for "+someID) || strings.HasSuffix(out, `[redacted]" for `+someID), out)
			for i := range len(someSecret) - 3 - 5 {
				require.NotContains(t, letters(out), letters(someSecret[3+i:3+i+6]))
			}

			both := modalapi.Redact(someSecret+" and "+c.spell(someSecret), someSecret)
			require.Equal(t, 2, strings.Count(both, "[redacted]"), both)
		})
	}
}

func TestRedact_FindsAKnownSecretInBase64(t *testing.T) {
	t.Parallel()
	for _, encoding := range []*base64.Encoding{base64.StdEncoding, base64.URLEncoding, base64.RawStdEncoding} {
		for _, around := range []string{"", "x", "xy", "xyz", someID + ":"} {
			encoded := encoding.EncodeToString([]byte(around + someSecret + around))
			out := modalapi.Redact("basic "+encoded+" sent", someSecret)

			require.Contains(t, out, "[redacted]")
			require.True(t, strings.HasPrefix(out, "basic ") && strings.HasSuffix(out, " sent"), out)
			first, last := (len(around)+len("as-"))*8/6+1, (len(around)+len(someSecret))*8/6
			for i := first; i+4 <= last; i++ {
				require.NotContains(t, out, encoded[i:i+4])
			}
		}
	}
}

func TestRedact_ReplacesTheWholeSecretAndKeepsWords(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		someSecret[3:14] + " & " + someSecret[14:]:      "[redacted]",
		"as is and as it was, the token " + someID:      "as is and as it was, the token " + someID,
		strings.Repeat("x", 290) + " " + someSecret[3:]: strings.Repeat("x", 290) + " [redac…",
		"%" + someSecret[3:]:                            "%[redacted]",
	} {
		require.Equal(t, want, modalapi.Redact(in, someSecret))
	}
}

func TestRedact_FindsAShortSecretOnlyWithItsPrefix(t *testing.T) {
	t.Parallel()
	require.Equal(t, "not [redacted] but xyz", modalapi.Redact("not as_xyz but xyz", "as-xyz"))
	require.Equal(t, "as it is", modalapi.Redact("as it is", "as--", ""))
}
