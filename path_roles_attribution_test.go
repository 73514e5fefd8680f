// SPDX-License-Identifier: MPL-2.0

package modalsecrets_test

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"vault-plugin-secrets-modal/internal/modaltest"
	"vault-plugin-secrets-modal/internal/mounttest"

	"github.com/hashicorp/vault/sdk/logical"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
)

// readAs reads creds of a dynamic role as Vault does for a Vault token with this display name.
func readAs(m *mounttest.Mount, displayName, path string) *logical.Response {
	m.T.Helper()
	resp, err := m.HandleRequest(m.T.Context(), &logical.Request{
		Operation: logical.ReadOperation, Path: path, Storage: m.Storage, MountPoint: "modal/", DisplayName: displayName,
	})
	require.NoError(m.T, err)
	require.False(m.T, resp.IsError(), "%v", mounttest.ErrorText(resp))
	return resp
}

// details returns the details of a key in a list.
func details(m *mounttest.Mount, path, key string) map[string]any {
	m.T.Helper()
	info, _ := m.Must(logical.ListOperation, path, nil).Data["key_info"].(map[string]any)
	details, _ := info[key].(map[string]any)
	return details
}

func TestRoles_DescriptionIsInReadListLookupAndLog(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	const text = "payments team, OPS-1234, github.com/acme/train"
	current := m.AddManaged("ci", map[string]any{"description": text})
	require.Equal(t, text, m.Read("roles/ci")["description"])
	require.Equal(t, text, details(m, "roles", "ci")["description"])
	require.Equal(t, text, details(m, "rotate", "ci")["description"])
	require.Contains(t, m.Logs.String(), `description="`+text+`" description_before=""`)
	require.Equal(t, text, m.LookUp("token_id", current)["description"])

	m.Write("rotate/ci", nil)
	found := m.LookUp("token_id", current)
	require.Equal(t, "previous", found["kind"])
	require.Equal(t, text, found["description"])

	m.Write("roles/ci", map[string]any{"description": ""})
	require.NotContains(t, m.Read("roles/ci"), "description")
	require.NotContains(t, details(m, "roles", "ci"), "description")
	require.Contains(t, m.Logs.String(), `description="" description_before="`+text+`"`)
}

func TestRoles_LookupTellsNoDescriptionOfALaterRole(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	old := m.AddManaged("ci", map[string]any{"description": "payments"})
	m.Remove("roles/ci", nil)
	m.AddManaged("ci", map[string]any{"description": "search"})
	found := m.LookUp("token_id", old)
	require.Equal(t, "previous", found["kind"])
	require.NotContains(t, found, "description", "the token belonged to another role of the same name")
}

func TestRoles_DescriptionIsOneShortLineWithoutASecret(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.AddManaged("ci")
	for description, says := range map[string]string{
		strings.Repeat("x", 257):       "description: write at most 256 bytes",
		strings.Repeat("ö", 128) + "x": "description: write at most 256 bytes",
		"two\nlines":                   "description: write one line",
		"\x1b[2J":                      "description: write one line",
		"a\u202eb":                     "description: write one line",
		"a\u2028b":                     "description: write one line",
		"old " + mounttest.SomeSecret:  "description: this has the shape of a token secret",
	} {
		refusal := m.Refused(logical.UpdateOperation, "roles/ci", map[string]any{"description": description})
		require.Contains(t, refusal, says)
		require.NotContains(t, refusal, mounttest.SomeSecret)
	}
	m.Write("roles/ci", map[string]any{"description": strings.Repeat("ö", 128)})
	long := strings.Repeat("größer ", 25)
	m.Write("roles/ci", map[string]any{"description": long})
	require.Equal(t, strings.TrimSpace(long), m.Read("roles/ci")["description"])
	listed := mounttest.TextIn(details(m, "roles", "ci"), "description")
	require.LessOrEqual(t, utf8.RuneCountInString(listed), 60)
	require.True(t, strings.HasSuffix(listed, "…"))
	require.True(t, utf8.ValidString(listed))
}

func TestCreds_EachFormNamesTheServiceUserAfterTheReader(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/job", map[string]any{
		"type": "dynamic", "environment_roles": "main=contributor", "description": "nightly training",
		"service_user_name_template": "{{.RoleName}}-{{.DisplayName}}",
	})
	for form, key := range map[string]string{"": "token_id", "/env": "MODAL_TOKEN_ID", "/dotenv": "token_id", "/toml": "token_id", "/profile": "token_id"} {
		id := mounttest.TextIn(readAs(m, "jwt-acme/train", "creds/job"+form).Data, key)
		user := m.ServiceUser(id).Name
		require.Regexp(t, "^vault-2f9f1a7c-job-jwt-acme-train-[a-z2-7]{8}$", user, form)

		found := m.LookUp("token_id", id)
		require.Equal(t, "lease", found["kind"])
		require.Equal(t, "job", found["role"])
		require.Equal(t, "nightly training", found["description"])
		require.Equal(t, user, found["service_user"])
		require.Equal(t, found, m.LookUp("service_user", user))
	}
}

func TestRoles_TemplateIsShownAndRefusedWithAnExample(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	m.Write("roles/job", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
	require.Equal(t, "{{.RoleName}}", m.Read("roles/job")["service_user_name_template"])
	refusal := m.Refused(logical.UpdateOperation, "roles/job", map[string]any{"service_user_name_template": "{{.Entity}}"})
	require.Contains(t, refusal, "{{.RoleName}}-{{.DisplayName}} works, and gives the service user the name vault-2f9f1a7c-job-jwt-acme-train-")
	refusal = m.Refused(logical.UpdateOperation, "roles/job", map[string]any{"service_user_name_template": strings.Repeat("x", 257)})
	require.Contains(t, refusal, "service_user_name_template: write at most 256 bytes")
	refusal = m.Refused(logical.UpdateOperation, "roles/new", map[string]any{
		"type": "dynamic", "environment_roles": "main=contributor", "service_user_name_template": "{{nothing}}",
	})
	require.Contains(t, refusal, "service_user_name_template cannot be used")

	m.Write("roles/job", map[string]any{"service_user_name_template": "{{.DisplayName}}"})
	require.Contains(t, m.Logs.String(), "service_user_name_template={{.DisplayName}} service_user_name_template_before=")
}

func TestLookup_SaysThatADisabledTokenIsNotRevoked(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	for role, replace := range map[string]bool{"current": false, "previous": true} {
		id := m.AddRole(role)
		if replace {
			m.Write("rotate/"+role, m.NewToken())
		}
		m.Modal.SetDisabled(id, true)
		resp := m.Write("lookup", map[string]any{"token_id": id})
		require.Equal(t, role, resp.Data["kind"])
		require.Equal(t, true, resp.Data["disabled"])
		require.Len(t, resp.Warnings, 1)
		require.Contains(t, resp.Warnings[0], "can enable it again")
		m.Modal.SetDisabled(id, false)
		resp = m.Write("lookup", map[string]any{"token_id": id})
		require.NotContains(t, resp.Data, "disabled")
		require.Empty(t, resp.Warnings)
	}
}

func TestLookup_TellsTheLastUseOfEveryKind(t *testing.T) {
	t.Parallel()
	for kind, leak := range map[string]func(m *mounttest.Mount) (id, secret string){
		"current": func(m *mounttest.Mount) (id, secret string) { return m.AddManaged("ci"), m.Credential("ci").Secret },
		"previous": func(m *mounttest.Mount) (id, secret string) {
			id = m.AddManaged("ci")
			secret = m.Credential("ci").Secret
			m.Write("rotate/ci", nil)
			return id, secret
		},
		"previous static": func(m *mounttest.Mount) (id, secret string) {
			id = m.AddRole("ci")
			secret = m.Credential("ci").Secret
			m.Write("rotate/ci", m.NewToken())
			return id, secret
		},
		"lease": func(m *mounttest.Mount) (id, secret string) {
			m.Write("roles/ci", map[string]any{"type": "dynamic", "environment_roles": "main=contributor"})
			data := readAs(m, "jwt-ci", "creds/ci").Data
			return mounttest.TextIn(data, "token_id"), mounttest.TextIn(data, "token_secret")
		},
		"orphan": func(m *mounttest.Mount) (id, secret string) {
			user, err := m.Workspace.CreateServiceUser("vault-2f9f1a7c-ci-aaaaaaaa")
			require.NoError(m.T, err)
			return user.ID, user.Secret
		},
		"unknown": func(m *mounttest.Mount) (id, secret string) {
			user := m.Workspace.AddServiceUser("team-b")
			return user.ID, user.Secret
		},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			m := mounttest.NewAllowingOrphans(t)
			id, secret := leak(m)
			m.Clock.Advance(time.Hour)
			require.True(t, m.Modal.Use(id, secret))
			used := m.Clock.Now().Format(time.RFC3339)
			m.Clock.Advance(time.Minute)
			calls := m.Modal.CallCount()
			found := m.LookUp("token_id", id)
			want, _, _ := strings.Cut(kind, " ")
			require.Equal(t, want, found["kind"])
			require.Equal(t, used, found["last_used_at"])
			require.Len(t, m.Modal.CallsFrom(calls), 1)
			require.Equal(t, used, m.LookUp("token_id", id)["last_used_at"], "a lookup uses no token but the admin token")

			m.Modal.Inject("*", modaltest.Fault{Code: codes.Unimplemented, Times: -1})
			calls = m.Modal.CallCount()
			resp := m.Write("lookup", map[string]any{"token_id": id})
			require.NotContains(t, resp.Data, "last_used_at")
			require.NotEmpty(t, resp.Warnings)
			require.Len(t, m.Modal.CallsFrom(calls), 1, "also with a server that does not have the method")
		})
	}
}

func TestLookup_TellsTheEnginesOwnUseOfTheAdminToken(t *testing.T) {
	t.Parallel()
	m := mounttest.NewManaged(t)
	id := mounttest.TextIn(m.Read("config"), "token_id")
	m.Clock.Advance(time.Hour)
	found := m.LookUp("token_id", id)
	require.Equal(t, "admin", found["kind"])
	require.Equal(t, m.Clock.Now().Format(time.RFC3339), found["last_used_at"])
}
