// SPDX-License-Identifier: MPL-2.0

package modalsecrets

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
)

// readAs reads creds of a dynamic role as Vault does for a Vault token with this display name.
func (m *mount) readAs(displayName, path string) *logical.Response {
	m.t.Helper()
	resp, err := m.HandleRequest(m.t.Context(), &logical.Request{
		Operation: logical.ReadOperation, Path: path, Storage: m.storage, MountPoint: "modal/", DisplayName: displayName,
	})
	require.NoError(m.t, err)
	require.False(m.t, resp.IsError(), "%v", errorText(resp))
	return resp
}

// details returns the details of a key in a list.
func (m *mount) details(path, key string) map[string]any {
	m.t.Helper()
	info, _ := m.must(logical.ListOperation, path, nil).Data["key_info"].(map[string]any)
	details, _ := info[key].(map[string]any)
	return details
}

func TestRoles_DescriptionIsInReadListLookupAndLog(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	const text = "payments team, OPS-1234, github.com/acme/train"
	current := m.addManaged("ci", map[string]any{"description": text})
	require.Equal(t, text, m.read("roles/ci")["description"])
	require.Equal(t, text, m.details("roles", "ci")["description"])
	require.Equal(t, text, m.details("rotate", "ci")["description"])
	require.Contains(t, m.logs.String(), `description="`+text+`" description_before=""`)
	require.Equal(t, text, m.lookUp("token_id", current)["description"])

	m.write("rotate/ci", nil)
	found := m.lookUp("token_id", current)
	require.Equal(t, "previous", found["kind"])
	require.Equal(t, text, found["description"])

	m.write("roles/ci", map[string]any{"description": ""})
	require.NotContains(t, m.read("roles/ci"), "description")
	require.NotContains(t, m.details("roles", "ci"), "description")
	require.Contains(t, m.logs.String(), `description="" description_before="`+text+`"`)
}

func TestRoles_LookupTellsNoDescriptionOfALaterRole(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	old := m.addManaged("ci", map[string]any{"description": "payments"})
	m.remove("roles/ci", nil)
	m.addManaged("ci", map[string]any{"description": "search"})
	found := m.lookUp("token_id", old)
	require.Equal(t, "previous", found["kind"])
	require.NotContains(t, found, "description", "the token belonged to another role of the same name")
}

func TestRoles_DescriptionIsOneShortLineWithoutASecret(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.addManaged("ci")
	for description, says := range map[string]string{
		strings.Repeat("x", 257): "description: write at most 256 bytes",
		"two\nlines":             "description: write one line",
		"\x1b[2J":                "description: write one line",
		"a\u202eb":               "description: write one line",
		"a\u2028b":               "description: write one line",
		"old " + someSecret:      "description: this has the shape of a token secret",
	} {
		refusal := m.refused(logical.UpdateOperation, "roles/ci", map[string]any{"description": description})
		require.Contains(t, refusal, says)
		require.NotContains(t, refusal, someSecret)
	}
	long := strings.Repeat("größer ", 25)
	m.write("roles/ci", map[string]any{"description": long})
	require.Equal(t, strings.TrimSpace(long), m.read("roles/ci")["description"])
	listed := textIn(m.details("roles", "ci"), "description")
	require.LessOrEqual(t, utf8.RuneCountInString(listed), maxListedDescription)
	require.True(t, strings.HasSuffix(listed, "…"))
	require.True(t, utf8.ValidString(listed))
}

func TestCreds_EachFormNamesTheServiceUserAfterTheReader(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.write("roles/job", map[string]any{
		"type": "dynamic", "environment_roles": "main=contributor", "description": "nightly training",
		"service_user_name_template": "{{.RoleName}}-{{.DisplayName}}",
	})
	for form, key := range map[string]string{"": "token_id", "/env": "MODAL_TOKEN_ID", "/dotenv": "token_id", "/toml": "token_id", "/profile": "token_id"} {
		id := textIn(m.readAs("jwt-acme/train", "creds/job"+form).Data, key)
		user := m.serviceUser(id).Name
		require.Regexp(t, "^vault-2f9f1a7c-job-jwt-acme-train-[a-z2-7]{8}$", user, form)

		found := m.lookUp("token_id", id)
		require.Equal(t, "lease", found["kind"])
		require.Equal(t, "job", found["role"])
		require.Equal(t, "nightly training", found["description"])
		require.Equal(t, user, found["service_user"])
		require.Equal(t, found, m.lookUp("service_user", user))
	}
}

func TestRoles_TemplateIsShownAndRefusedWithAnExample(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	m.write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
	require.Equal(t, "{{.RoleName}}", m.read("roles/job")["service_user_name_template"])
	refusal := m.refused(logical.UpdateOperation, "roles/job", map[string]any{"service_user_name_template": "{{.Entity}}"})
	require.Contains(t, refusal, "{{.RoleName}}-{{.DisplayName}} works, and gives the service user the name vault-2f9f1a7c-job-jwt-acme-train-")
	refusal = m.refused(logical.UpdateOperation, "roles/job", map[string]any{"service_user_name_template": strings.Repeat("x", 257)})
	require.Contains(t, refusal, "service_user_name_template: write at most 256 bytes")
	refusal = m.refused(logical.UpdateOperation, "roles/new", map[string]any{
		"type": "dynamic", "environment_roles": "main=contributor", "service_user_name_template": "{{nothing}}",
	})
	require.Contains(t, refusal, "service_user_name_template cannot be used")

	m.write("roles/job", map[string]any{"service_user_name_template": "{{.DisplayName}}"})
	require.Contains(t, m.logs.String(), "service_user_name_template={{.DisplayName}} service_user_name_template_before=")
}

func TestLookup_SaysThatADisabledTokenIsNotRevoked(t *testing.T) {
	t.Parallel()
	m := newManagedMount(t)
	for role, replace := range map[string]bool{"current": false, "previous": true} {
		id := m.addRole(role)
		if replace {
			m.write("rotate/"+role, m.newToken())
		}
		m.modal.SetDisabled(id, true)
		resp := m.write("lookup", map[string]any{"token_id": id})
		require.Equal(t, role, resp.Data["kind"])
		require.Equal(t, true, resp.Data["disabled"])
		require.Len(t, resp.Warnings, 1)
		require.Contains(t, resp.Warnings[0], "can enable it again")
		m.modal.SetDisabled(id, false)
		resp = m.write("lookup", map[string]any{"token_id": id})
		require.NotContains(t, resp.Data, "disabled")
		require.Empty(t, resp.Warnings)
	}
}

func TestLookup_TellsTheLastUseOfEveryKind(t *testing.T) {
	t.Parallel()
	for kind, leak := range map[string]func(m *mount) (id, secret string){
		"current": func(m *mount) (id, secret string) { return m.addManaged("ci"), m.credential("ci").Secret },
		"previous": func(m *mount) (id, secret string) {
			id = m.addManaged("ci")
			secret = m.credential("ci").Secret
			m.write("rotate/ci", nil)
			return id, secret
		},
		"lease": func(m *mount) (id, secret string) {
			m.write("roles/ci", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
			data := m.readAs("jwt-ci", "creds/ci").Data
			return textIn(data, "token_id"), textIn(data, "token_secret")
		},
		"orphan": func(m *mount) (id, secret string) {
			user, err := m.workspace.CreateServiceUser("vault-2f9f1a7c-ci-aaaaaaaa")
			require.NoError(m.t, err)
			return user.ID, user.Secret
		},
		"unknown": func(m *mount) (id, secret string) {
			user := m.workspace.AddServiceUser("team-b")
			return user.ID, user.Secret
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := newMountAllowingOrphans(t)
			id, secret := leak(m)
			m.clock.advance(time.Hour)
			require.True(t, m.modal.Use(id, secret))
			used := m.clock.now().Format(time.RFC3339)
			m.clock.advance(time.Minute)
			found := m.lookUp("token_id", id)
			require.Equal(t, kind, found["kind"])
			require.Equal(t, used, found["last_used_at"])
			require.Equal(t, used, m.lookUp("token_id", id)["last_used_at"], "a lookup uses no token but the admin token")
		})
	}
}
