// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestUserErrors_AnswerHTTP400AndSayWhatToDo(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.newRole(t)
	other := w.newToken(t)
	fields := func(id, secret string, more ...string) []string {
		return append([]string{"token_id=" + id, "token_secret=" + secret}, more...)
	}
	for name, mistake := range map[string]struct {
		path string
		args []string
		says string
	}{
		"ID and secret swapped":  {"modal/roles/new", fields(other.Secret, other.ID, "type=static"), "swapped"},
		"an ID without a secret": {"modal/roles/new", []string{"type=static", "token_id=" + other.ID}, "token_secret"},
		"a misspelled field":     {"modal/roles/new", []string{"type=static", "token_idd=x"}, `did you mean token_id`},
		"an upper-case name":     {"modal/roles/New", fields(other.ID, other.Secret, "type=static"), `write "new"`},
		"an unknown type":        {"modal/roles/new", fields(other.ID, other.Secret, "type=satic"), "static"},
		"another role's token":   {"modal/roles/new", fields(token.ID, token.Secret, "type=static"), "another role of this mount"},
		"a rotation by update":   {"modal/roles/ci", fields(other.ID, other.Secret), "rotate/ci"},
		"an unknown role":        {"modal/rotate/nobody", fields(other.ID, other.Secret), "nobody"},
		"plain http to a host":   {"modal/config", []string{"server_url=http://modal.example:80"}, "https"},
		"a token Modal rejects":  {"modal/roles/new", fields(other.ID, other.Secret+"x", "type=static"), other.ID},
	} {
		failed := w.run(t, w.CLI, "", append([]string{"write", mistake.path}, mistake.args...)...)
		require.Equal(t, 2, failed.Code, name)
		require.Contains(t, failed.Stderr, "Code: 400", name)
		require.Contains(t, failed.Stderr, mistake.says, name)
	}
	w.requireToken(t, token)
}
