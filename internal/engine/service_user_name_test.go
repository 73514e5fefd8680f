// SPDX-License-Identifier: MPL-2.0

package engine

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"vault-plugin-secrets-modal/internal/model"
)

// namedBy returns a change that sets the template of a dynamic role.
func namedBy(template string) func(*model.RoleWrite) {
	return func(ask *model.RoleWrite) {
		ask.Dynamic.NameTemplate = to(template)
		ask.Dynamic.Given = []string{"service_user_name_template"}
	}
}

// readAs reads a dynamic role with a Vault token of this display name, and returns the name of the service user.
func (h *harness) readAs(role, displayName string) string {
	h.t.Helper()
	lease, err := h.engine.Leases.Create(h.t.Context(), LeaseRequest{Role: role, DisplayName: displayName, VaultMax: vaultsMost})
	require.NoError(h.t, err)
	for _, user := range h.modal.ServiceUsers() {
		if user.TokenID == lease.Cred.ID {
			return user.Name
		}
	}
	h.t.Fatal("no service user at Modal owns the token")
	return ""
}

func TestLease_ServiceUserIsNamedByTheRolesTemplate(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	for template, want := range map[string]string{
		"":                                     "job.prod",
		"{{.RoleName}}":                        "job.prod",
		"{{.DisplayName}}":                     "jwt-acme-train",
		"{{.RoleName}}_{{.DisplayName}}":       "job.prod_jwt-acme-train",
		`{{.DisplayName | replace "jwt-" ""}}`: "acme-train",
		"{{.DisplayName | truncate 3}}-ci":     "jwt-ci",
		`{{printf "%s.%d" .RoleName (len "abcd")}}`:          "job.prod-4",
		"{{with .DisplayName}}{{.}}{{end}}":                  "jwt-acme-train",
		`{{if eq .RoleName "job.prod"}}yes{{else}}no{{end}}`: "yes",
	} {
		h.dynamic("job.prod", namedBy(template))
		name := h.readAs("job.prod", "jwt-Acme/train")
		require.Regexp(t, "^vault-2f9f1a7c-"+regexp.QuoteMeta(strings.ReplaceAll(want, ".", "-"))+"-[a-z2-7]{8}$", name, template)
		require.LessOrEqual(t, len(name), 63)
	}
}

func TestLease_ServiceUserHasTheRolesNameIfTheTemplateFails(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", namedBy("{{slice .DisplayName 4}}"))
	require.Contains(t, h.readAs("job", "jwt-train"), "vault-2f9f1a7c-train-")
	require.NotContains(t, h.recorded.lines(), "service_user_name_template failed")
	require.Contains(t, h.readAs("job", "ci"), "vault-2f9f1a7c-job-")
	require.Contains(t, h.recorded.lines(), "service_user_name_template failed for a read")
	for _, unusable := range []string{"", "jwt-", "jwt-///", "jwt-as-" + strings.Repeat("A", 22)} {
		require.Contains(t, h.readAs("job", unusable), "vault-2f9f1a7c-job-", unusable)
	}
	h.dynamic("job", namedBy("{{slice .DisplayName 7}}"))
	require.Contains(t, h.readAs("job", "jwt-as-"+strings.Repeat("A", 22)), "vault-2f9f1a7c-job-", "a template must not hide the shape of a secret")
	require.NotContains(t, h.recorded.lines(), strings.Repeat("A", 22))
}

func TestLease_LongDisplayNamesGiveDifferentServiceUsers(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", namedBy("{{.DisplayName}}"))
	names := map[string]bool{}
	for i := range 3 {
		name := h.readAs("job", fmt.Sprintf("%s-%d", strings.Repeat("repository", 10), i))
		require.Len(t, name, 63)
		names[name[:len(name)-9]] = true
	}
	require.Len(t, names, 3, "the names differ in more than the random end")
}

func TestRole_UnusableTemplateIsRefusedWithAnExample(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.dynamic("job", namedBy("{{.DisplayName}}"))
	before := h.snapshot()
	for template, says := range map[string]string{
		"{{.DisplayName":             "unclosed action",
		"{{.EntityName}}":            "can't evaluate field EntityName: a template knows .RoleName and .DisplayName",
		"{{nothing}}":                `function "nothing" is not among random, truncate`,
		"{{.DisplayName | html}}":    `function "html" is not among`,
		"///":                        `it gives "///"`,
		"   ":                        "has no letter or digit",
		"{{.RoleName | truncate 0}}": "max length must be > 0",
		"as-{{.RoleName | uppercase}}" + strings.Repeat("A", 22):                 "the shape of a token secret",
		`{{range 999999999999}}x{{end}}`:                                         "range",
		`{{define "x"}}x{{end}}x`:                                                "it defines another template",
		`{{random 999999999}}`:                                                   "random makes at most",
		`{{printf "%1000000s" "x"}}`:                                             "a text of 1000000 bytes is too long",
		`{{$a := printf "%4000s" "x"}}{{$a = print $a $a $a}}{{print $a $a $a}}`: "is too long",
		`{{replace "" (printf "%4000s" "x") (printf "%4000s" "x")}}`:             "is too long",
		`{{with .RoleName}}{{else}}{{range 9}}x{{end}}{{end}}`:                   "range",
		`{{if .RoleName}}{{js "<"}}{{end}}`:                                      `function "js" is not among`,
		`{{template "x"}}`:                                                       "template",
		`{{(index .RoleName 0 | urlquery).x}}`:                                   `function "urlquery" is not among`,
	} {
		ask := model.RoleWrite{Name: "job"}
		namedBy(template)(&ask)
		_, err := h.engine.Roles.Write(t.Context(), ask)
		require.Error(t, err, template)
		require.True(t, model.IsUserError(err), template)
		require.ErrorContains(t, err, says, template)
		require.Regexp(t, `\{\{\.RoleName\}\}-\{\{\.DisplayName\}\} works, and gives the service user the name vault-2f9f1a7c-job-jwt-acme-train-[a-z2-7]{8}; nothing was changed$`, err.Error())
		require.NotContains(t, err.Error(), strings.Repeat("A", 22))
		h.unchangedSince(before)
	}
}

func TestRole_TemplateIsForDynamicRolesOnly(t *testing.T) {
	t.Parallel()
	h := newHarness(t)
	h.managed("ci")
	ask := model.RoleWrite{Name: "ci"}
	namedBy("{{.DisplayName}}")(&ask)
	_, err := h.engine.Roles.Write(t.Context(), ask)
	require.ErrorContains(t, err, "service_user_name_template is for dynamic roles")
}
