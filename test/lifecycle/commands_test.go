// SPDX-License-Identifier: MPL-2.0

package lifecycle

import (
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/mounttest"
)

// command matches a Vault command in a text, up to its path.
var command = regexp.MustCompile(`vault (?:read|write|list|delete|lease revoke)(?: -[\w-]+(?:='')?)* \S+`)

// commandsIn returns the commands that an answer or an error recommends.
func commandsIn(t *testing.T, resp *logical.Response, err error) []string {
	t.Helper()
	var text strings.Builder
	if err != nil {
		text.WriteString(err.Error() + "\n")
	}
	if resp != nil {
		text.WriteString(mounttest.ToJSON(t, resp.Data) + strings.Join(resp.Warnings, "\n"))
	}
	plain := strings.NewReplacer(`\u0027`, "'").Replace(text.String())
	return command.FindAllString(plain, -1)
}

// eachRecommended causes many answers and refusals of a mount, and visits each command that they recommend.
func eachRecommended(t *testing.T, at string, visit func(command string)) {
	t.Helper()
	newPopulated := func() *mounttest.Mount {
		m := mounttest.NewManaged(t)
		m.At = at
		m.AddManaged("ci")
		m.AddRole("personal")
		return m
	}
	for name, mistake := range likelyMistakes() {
		t.Log(name)
		for _, command := range command.FindAllString(answerTo(newPopulated(), mistake), -1) {
			visit(command)
		}
	}
	m := newPopulated()
	ask := func(op logical.Operation, path string, data map[string]any) {
		resp, err := m.Handle(op, path, data)
		for _, command := range commandsIn(t, resp, err) {
			visit(command)
		}
	}
	const read, update, remove = logical.ReadOperation, logical.UpdateOperation, logical.DeleteOperation
	ask(update, "config", map[string]any{"request_timeout": "20s"})
	ask(update, "roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=viewer", "max_leases": 1})
	ask(update, "roles/waiting", map[string]any{"type": "static"})
	for _, path := range []string{"creds/waiting", "creds/none", "rotate/job", "config/approval", "revocations/ak-none"} {
		ask(read, path, nil)
	}
	lease := m.Must(read, "creds/job", nil)
	ask(read, "creds/job", nil) // exceeds max_leases
	ask(update, "revocations/"+m.List("revocations")[0], nil)
	ask(update, "rotate/ci", nil)
	ask(read, "revocations/"+m.List("revocations")[0], nil)
	ask(update, "verify/ci", nil)
	ask(update, "orphans", nil)
	m.Write("config", map[string]any{"paused": true})
	_, err := m.LeaseRequest(logical.RevokeOperation, vaultLease(t, m, lease))
	require.Error(t, err)
	for _, command := range commandsIn(t, nil, err) {
		visit(command)
	}
	ask(remove, "roles/ci", nil)
	ask(remove, "roles/personal", nil)
	m.Clock.Advance(200 * mounttest.Day)
	m.AddManaged("late")
	m.Clock.Advance(200 * mounttest.Day)
	ask(read, "creds/late", nil)
}

func TestCommands_OfANestedMountHaveTheNamespaceFlag(t *testing.T) {
	t.Parallel()
	var seen []string
	eachRecommended(t, "team/modal/", func(command string) {
		seen = append(seen, command)
		if strings.HasPrefix(command, "vault lease") {
			require.Regexp(t, `^vault lease revoke( -force)? -prefix team/modal/creds/job$`, command)
			return
		}
		require.Regexp(t, `^vault (read|write|list|delete)( -f| -detailed)? -namespace='' team/modal/`, command)
	})
	require.Greater(t, len(seen), 30, "the test must see enough commands")
	require.Contains(t, seen, "vault lease revoke -prefix team/modal/creds/job")
}

func TestCommands_OfATopLevelMountAreShort(t *testing.T) {
	t.Parallel()
	eachRecommended(t, "modal/", func(command string) {
		require.Regexp(t, `^vault (read|write|list|delete|lease revoke)( -f| -force| -detailed| -prefix)* modal/`, command)
	})
}
