// SPDX-License-Identifier: MPL-2.0

package modalapi_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modalapi"
)

func TestToken_NeverShowsItsSecret(t *testing.T) {
	t.Parallel()
	requireHidden(t, someToken)
	requireHidden(t, &someToken)
	requireHidden(t, struct{ Token modalapi.Token }{someToken})
	requireHidden(t, []modalapi.Token{someToken})
	require.Equal(t, someID, someToken.String())
}

// requireHidden requires that printing or logging v shows the ID of someToken and never its secret.
func requireHidden(t *testing.T, v any) {
	t.Helper()
	var shown bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%10s", "%T"} {
		fmt.Fprintf(&shown, verb, v)
	}
	for _, handler := range []slog.Handler{slog.NewTextHandler(&shown, nil), slog.NewJSONHandler(&shown, nil)} {
		logger := slog.New(handler)
		logger.Info("a token", "token", v)
	}

	require.Contains(t, shown.String(), someID)
	require.NotContains(t, shown.String(), someSecret)
	require.NotContains(t, shown.String(), fmt.Sprintf("%x", someSecret))
	require.NotContains(t, shown.String(), fmt.Sprintf("%X", someSecret))
}

func TestToken_CannotBeEncodedAsJSON(t *testing.T) {
	t.Parallel()
	text, err := json.Marshal(map[string]any{"token": someToken})

	require.Error(t, err)
	require.NotContains(t, err.Error(), someSecret)
	require.Empty(t, text)
}

func TestParseToken_PastedWhiteSpaceIsTrimmed(t *testing.T) {
	t.Parallel()
	token, warnings, err := modalapi.ParseToken(" "+someID+"\r\n", "\t"+someSecret+"\n")

	require.NoError(t, err)
	require.Empty(t, warnings)
	require.Equal(t, someToken.ID, token.ID)
	require.True(t, token == someToken)
}

func TestParseToken_UnusualLengthIsAWarningNotAnError(t *testing.T) {
	t.Parallel()
	// Modal's own tests use UUIDs.
	const id, secret = "ak-0b9f3c1e-7a77-4f0e-9d6b-0c8a1b2c3d4e", "as-short"
	token, warnings, err := modalapi.ParseToken(id, secret)

	require.NoError(t, err)
	require.Equal(t, id, token.ID)
	require.Len(t, warnings, 2)
	require.Contains(t, warnings[0], "token_id has 36 characters")
	require.Contains(t, warnings[1], "token_secret has 5 characters")
	require.NotContains(t, strings.Join(warnings, ""), secret)
}

func TestParseToken_NamesEachMistakeWithoutTheValue(t *testing.T) {
	t.Parallel()
	const body = "ZYXWVUTSRQponmlkjihg98"
	for name, c := range map[string]struct{ id, secret, want string }{
		"no id":              {"", someSecret, "token_id is missing"},
		"blank id":           {" \n", someSecret, "token_id is missing"},
		"no secret":          {someID, "", "token_secret is missing"},
		"neither":            {"", "", "token_id is missing"},
		"swapped":            {someSecret, someID, "are swapped: token_id starts with \"ak-\""},
		"secret twice":       {someSecret, someSecret, `token_id must start with "ak-"`},
		"id twice":           {someID, someID, `token_secret must start with "as-"`},
		"proxy id":           {"wk-" + body, someSecret, "token_id belongs to a proxy token"},
		"proxy secret":       {someID, "ws-" + body, "token_secret belongs to a proxy token"},
		"no prefix":          {someID, body, `token_secret must start with "as-"`},
		"upper-case prefix":  {someID, "AS-" + body, `token_secret must start with "as-"`},
		"only a prefix":      {someID, "as-", `token_secret has no characters after "as-"`},
		"quoted":             {someID, `"` + someSecret + `"`, "token_secret contains a quote"},
		"typographic quote":  {someID, "“" + someSecret + "”", "token_secret contains a quote"},
		"line break":         {someID, "as-" + body + "\n" + body, "token_secret contains a line break"},
		"inner space":        {someID, "as-" + body + " " + body, "token_secret contains white space"},
		"control":            {someID, "as-" + body + "\x00", "token_secret contains a control character"},
		"not ASCII":          {someID, "as-" + body + "é", "token_secret contains a character outside ASCII"},
		"invalid UTF-8":      {someID, "as-" + body + "\xff", "token_secret contains a character outside ASCII"},
		"environment line":   {someID, "MODAL_TOKEN_SECRET=" + someSecret, "token_secret contains punctuation"},
		"absurd length":      {someID, "as-" + strings.Repeat(body, 12), "token_secret is 267 bytes long"},
		"secret as id field": {someSecret, "", `token_id must start with "ak-"`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, _, err := modalapi.ParseToken(c.id, c.secret)

			require.ErrorContains(t, err, c.want)
			require.NotContains(t, err.Error(), body)
			require.Empty(t, token.ID+token.Secret)
		})
	}
}

func FuzzParseToken(f *testing.F) {
	f.Add(someID, someSecret)
	f.Add(someSecret, someID)
	f.Add("ak-\n", " as-\x7f")
	f.Add("wk-a", "ws-b")
	f.Add("ak-é", "as-\xff\xfe")
	f.Fuzz(func(t *testing.T, id, secret string) {
		token, warnings, err := modalapi.ParseToken(id, secret)
		if err != nil {
			require.Empty(t, token.ID+token.Secret)
			if len(secret) > 12 {
				require.NotContains(t, err.Error(), secret)
			}
			return
		}
		require.Regexp(t, `^ak-[A-Za-z0-9_-]{1,253}$`, token.ID)
		require.True(t, strings.HasPrefix(token.Secret, "as-") && len(token.Secret) <= 256)
		// ParseToken accepts its own result again and does not change it.
		again, sameWarnings, err := modalapi.ParseToken(token.ID, token.Secret)
		require.NoError(t, err)
		require.True(t, again == token)
		require.Equal(t, warnings, sameWarnings)
	})
}
