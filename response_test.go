// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestBrief_ShortensAnErrorToAFewWords(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"":                              "",
		"Modal still accepts the token": "Modal still accepts the token",
		"a storage error":               "a storage error",
		strings.Repeat("x", 41):         "see the read",
		"create service user vault-2f9f1a7c-ci-abcdefgh: Modal gave no usable answer when asked to create it": "Modal gave no usable answer when…",
		"the admin token ak-AAAAAAAAAAAAAAAAAAAAAA of user \"alice\" expired":                                 "the admin token…",
		"Modal says: größer als erlaubt und noch länger":                                                      "Modal says: größer als erlaubt und…",
	} {
		got := brief(text)
		require.Equal(t, want, got)
		require.LessOrEqual(t, utf8.RuneCountInString(got), maxBrief)
		require.True(t, utf8.ValidString(got))
	}
}

func TestNumbered_MakesOneLine(t *testing.T) {
	t.Parallel()
	require.Empty(t, numbered(nil))
	require.Equal(t, "1. one; 2. two", numbered([]string{"one", "two"}))
}
