// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestList_ReturnsPages(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.newRole(t)
	for _, name := range []string{"batch", "deploy"} {
		token := w.newToken(t)
		w.vault(t, "write", "modal/roles/"+name, "type=static", "token_id="+token.ID, "token_secret="+token.Secret)
	}
	for query, want := range map[string][]string{
		"limit=2":             {"batch", "ci"},
		"limit=2&after=batch": {"ci", "deploy"},
		"limit=-1&after=ci":   {"deploy"},
	} {
		_, answer := get[struct{ Data struct{ Keys []string } }](t, w, "modal/roles?list=true&"+query)
		require.Equal(t, want, answer.Data.Keys, query)
	}
	if !tools.OpenBao {
		return // Vault's command has no flags for pages.
	}
	var keys []string
	require.NoError(t, json.Unmarshal([]byte(w.vault(t, "list", "-format=json", "-after=batch", "-limit=1", "modal/rotate")), &keys))
	require.Equal(t, []string{"ci"}, keys)
}
