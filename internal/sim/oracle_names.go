// SPDX-License-Identifier: MPL-2.0

package sim

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"vault-plugin-secrets-modal/internal/modaltest"
)

// A service user's name has the mount's prefix, a label of at most longestLabel characters, "-" and a random suffix.
const (
	longestLabel = 39
	suffixLength = 8
)

// nameTemplate is a service_user_name_template, with the text that it should give. A nil result stands for a template
// that the engine must refuse.
type nameTemplate struct {
	text   string
	result func(role, displayName string) string
}

var nameTemplates = []nameTemplate{
	{"{{.DisplayName}}", func(_, displayName string) string { return displayName }},
	{"{{.RoleName}}-{{.DisplayName}}", func(role, displayName string) string { return role + "-" + displayName }},
	{"job_{{.DisplayName | lowercase}}", func(_, displayName string) string { return "job_" + strings.ToLower(displayName) }},
	{"", func(role, _ string) string { return role }},
	{"{{.NoSuchValue}}", nil},
	{"--{{if false}}x{{end}}--", nil},
	{"{{.DisplayName", nil},
}

// canName says for each template whether a role may have it.
var canName = func() map[string]bool {
	can := map[string]bool{}
	for _, template := range nameTemplates {
		can[template.text] = template.result != nil
	}
	return can
}()

// displayNames are the display names of readers of leases.
var displayNames = []string{
	"token", "jwt-acme/Train", "github: my repo, main!", "approle", "", "---",
	"kubernetes-a-namespace-with-a-long-name-a-service-account-with-a-long-name",
	"as-0123456789Abcdefghijkl", // the shape of a token secret
}

// checkUserName expects the name of a new service user to have the label that its role's template gives.
func (o *oracle) checkUserName(user modaltest.ServiceUserInfo, role, template, displayName string) {
	text := role
	for _, known := range nameTemplates {
		if known.text == template && known.result != nil {
			text = known.result(role, displayName)
		}
	}
	want := nameLabel(text)
	if want == "" || secretShape.MatchString(displayName) && text != role {
		want = nameLabel(role)
	}
	rest, ours := strings.CutPrefix(user.Name, prefix)
	at := len(rest) - suffixLength - 1
	if !ours || at < 0 || rest[:at] != want || rest[at] != '-' {
		o.run.broken("service user %s of role %s should be called %s%s-… for a reader %q and the template %q", user.Name, role, prefix, want, displayName, template)
	}
	if want != nameLabel(role) {
		o.run.report.count("a service user is named after its reader")
	}
}

// nameLabel returns a text as the middle part of a service user's name: in lower case, with a dash for each run of
// other characters, and with the end replaced by a hash if the text is too long.
func nameLabel(text string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(text) {
		switch {
		case c == '_', c == '-', c >= 'a' && c <= 'z', c >= '0' && c <= '9':
			b.WriteRune(c)
		case !strings.HasSuffix(b.String(), "\x00"):
			b.WriteByte(0)
		}
	}
	label := strings.Trim(strings.ReplaceAll(b.String(), "\x00", "-"), "-_")
	if len(label) <= longestLabel {
		return label
	}
	const hashed = 8
	sum := sha256.Sum256([]byte(label[longestLabel-hashed:]))
	return label[:longestLabel-hashed] + hex.EncodeToString(sum[:])[:hashed]
}
