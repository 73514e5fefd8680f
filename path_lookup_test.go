// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// lookUp returns the answer to a lookup. The lookup must write nothing and call Modal at most once.
func (m *mount) lookUp(field, value string) map[string]any {
	m.t.Helper()
	before, calls := m.storage.snapshot(m.t), m.modal.CallCount()
	resp := m.write("lookup", map[string]any{field: value})
	m.unchangedSince(before)
	require.LessOrEqual(m.t, m.modal.CallCount()-calls, 1)
	require.NotContains(m.t, resp.Data, "token_secret")
	for _, secret := range m.modal.Secrets() {
		require.NotContains(m.t, fmt.Sprint(resp.Data), secret)
	}
	return resp.Data
}

// follow runs a command that an answer recommends.
func (m *mount) follow(command string) {
	m.t.Helper()
	command, _, _ = strings.Cut(command, ", or ")
	words := strings.Fields(command)
	require.Equal(m.t, []string{"vault", "write"}, words[:2], command)
	path, data := strings.TrimPrefix(words[2], "modal/"), map[string]any{}
	next := m.newToken()
	for _, word := range words[3:] {
		field, value, _ := strings.Cut(word, "=")
		switch field {
		case "token_id", "token_secret":
			data[field] = next[field]
		default:
			data[field] = value
		}
	}
	m.write(path, data)
}

func TestLookup_LeadsFromALeakedTokenToItsRevocation(t *testing.T) {
	t.Parallel()
	for kind, leak := range map[string]func(m *mount) (id string){
		"current managed":  func(m *mount) string { return m.addManaged("ci") },
		"current static":   func(m *mount) string { return m.addRole("ci") },
		"previous managed": func(m *mount) string { id := m.addManaged("ci"); m.write("rotate/ci", nil); return id },
		"previous static":  func(m *mount) string { id := m.addRole("ci"); m.write("rotate/ci", m.newToken()); return id },
		"lease": func(m *mount) string {
			m.write("roles/ci", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
			return textIn(m.must(logical.ReadOperation, "creds/ci", nil).Data, "token_id")
		},
		"admin": func(m *mount) string { return textIn(m.read("config"), "token_id") },
		"orphan": func(m *mount) string {
			user, err := m.workspace.CreateServiceUser("vault-2f9f1a7c-gpu-aaaaaaaa")
			require.NoError(m.t, err)
			return user.ID
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := newMountAllowingOrphans(t)
			id := leak(m)
			want, _, _ := strings.Cut(kind, " ")
			found := m.lookUp("token_id", id)
			require.Equal(t, want, found["kind"])
			require.Equal(t, id, found["token_id"])
			if want != "admin" && want != "orphan" {
				require.Equal(t, "ci", found["role"])
				require.NotEmpty(t, found["state"])
			}
			require.Equal(t, "acme", found["workspace"])
			if user, owned := found["service_user"]; owned {
				require.Equal(t, found, m.lookUp("service_user", user.(string)), "the name that Modal's pages show gives the same answer")
			}

			m.follow(textIn(found, "next_step"))

			m.minutes(1)
			require.False(t, m.knows(id))
			require.Equal(t, "unknown", m.lookUp("token_id", id)["kind"])
		})
	}
}

func TestLookup_ShowsLastUseAndWhetherATokenIsDisabled(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	managed, person := m.addManaged("ci"), m.addRole("personal")
	m.clock.advance(time.Hour)
	for role, id := range map[string]string{"ci": managed, "personal": person} {
		cred := m.credential(role)
		require.True(t, m.modal.Use(cred.ID, cred.Secret))
		require.Equal(t, m.clock.now().Format(time.RFC3339), m.lookUp("token_id", id)["last_used_at"], role)
	}
	m.modal.SetDisabled(person, true)
	require.Equal(t, true, m.lookUp("token_id", person)["disabled"])
}

func TestLookup_UnknownTokenIsAnAnswerNotAnError(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	foreign := m.workspace.AddServiceUser("team-b")
	found := m.lookUp("token_id", foreign.ID)
	require.Equal(t, "unknown", found["kind"])
	require.Contains(t, found["next_step"], "modal workspace service-users delete team-b")
	untracked := m.member.NewToken()
	found = m.lookUp("token_id", untracked.ID)
	require.Equal(t, "unknown", found["kind"])
	require.Contains(t, found["next_step"], "modal workspace member-tokens delete "+untracked.ID)
	require.Equal(t, "unknown", m.lookUp("service_user", "vault-2f9f1a7c-ci-abcdefgh")["kind"])
}

func TestLookup_AnswersFromStorageDuringAnOutage(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	id := m.addManaged("ci")
	m.modal.Inject("*", modaltest.Fault{Code: 14, Times: -1})
	resp := m.write("lookup", map[string]any{"token_id": id})
	require.Equal(t, "current", resp.Data["kind"])
	require.Contains(t, resp.Warnings[0], "did not say when the token was last used")
	resp = m.write("lookup", map[string]any{"token_id": someID})
	require.Equal(t, "unknown", resp.Data["kind"])
	require.Contains(t, resp.Warnings[0], "did not say whether a service user owns the token")
	m.write("config", map[string]any{"paused": true})
}

func TestLookup_RefusesInvalidTokenIDs(t *testing.T) {
	t.Parallel()
	m := newMount(t)
	for _, odd := range []map[string]any{nil, {"token_id": ""}, {"token_id": "ak"}, {"token_id": "wk-abcdefghijklmnopqrstuv"}, {"token_id": "ak-a b"}, {"token_id": someID, "service_user": "x"}} {
		m.refused(logical.UpdateOperation, "lookup", odd)
	}
	require.NotContains(t, m.refused(logical.UpdateOperation, "lookup", map[string]any{"token_id": someSecret}), someSecret)
}

func TestRevocations_AreFoundByTokenIDAndByServiceUser(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
	id := textIn(m.must(logical.ReadOperation, "creds/job", nil).Data, "token_id")
	byToken := m.read("revocations/" + id)
	require.Equal(t, byToken, m.read("revocations/"+textIn(byToken, "id")))
	require.Equal(t, id, byToken["token_id"])
	done := m.write("revocations/"+id, map[string]any{"force": true})
	require.Equal(t, true, done.Data["revoked"])
	require.Equal(t, id, done.Data["token_id"])
	require.False(t, m.knows(id))
}

func TestRevocations_SayWhyAValidTokenIsNotInTheQueue(t *testing.T) {
	t.Parallel()
	m := newMountAllowingOrphans(t)
	current, admin := m.addManaged("ci"), textIn(m.read("config"), "token_id")
	for id, says := range map[string]string{
		current: "is the current token of role ci", m.serviceUser(current).Name: "is the current token of role ci", admin: "is the admin token",
		someID: "and Modal was not asked about it: ask Modal with: vault write modal/lookup token_id=" + someID,
	} {
		require.Contains(t, m.absent("revocations/"+id), says)
		require.Contains(t, m.refused(logical.UpdateOperation, "revocations/"+id, map[string]any{"force": true}), says)
		status, text := m.failed(logical.DeleteOperation, "revocations/"+id, map[string]any{"force": true})
		require.Equal(t, 404, status)
		require.Contains(t, text, says)
	}
	require.True(t, m.knows(current))
}
