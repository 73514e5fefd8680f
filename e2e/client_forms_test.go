// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// form is a way to give a role's token to a client: a read of creds/<role>/env, a read of
// creds/<role>/dotenv, or several TOML reads joined to one .modal.toml.
type form struct {
	name    string
	role    string   // the client must use this role's token
	reads   []string // below creds/
	profile string   // MODAL_PROFILE
}

// family is a group of roles that are rotated together, and the forms made of them.
type family struct {
	name  string
	roles []clientRole
	forms []form
	// outlived is true if the engine, not an operator, ends the tokens.
	outlived bool
}

// clientRole is a role of the matrix. Static roles see every environment, managed roles only main.
type clientRole struct {
	name, profile string
	managed       bool
}

var families = []family{
	{
		name: "static", roles: []clientRole{{name: "ops"}},
		forms: []form{
			{name: "static, .modal.toml", role: "ops", reads: []string{"ops/toml"}},
			{name: "static, environment", role: "ops", reads: []string{"ops/env"}},
			{name: "static, dotenv", role: "ops", reads: []string{"ops/dotenv"}},
		},
	},
	{
		name: "managed", outlived: true, roles: []clientRole{{name: "bot", managed: true}},
		forms: []form{
			{name: "managed, .modal.toml", role: "bot", reads: []string{"bot/toml"}},
			{name: "managed, environment", role: "bot", reads: []string{"bot/env"}},
			{name: "managed, dotenv", role: "bot", reads: []string{"bot/dotenv"}},
		},
	},
	{
		name: "joined", roles: []clientRole{{name: "ci"}, {name: "gpu", managed: true}, {name: "batch"}},
		forms: []form{
			{name: "three joined, active (static)", role: "ci", reads: []string{"ci/toml", "gpu/profile", "batch/profile"}},
			{
				name: "three joined, MODAL_PROFILE (managed)", role: "gpu", profile: "gpu",
				reads: []string{"ci/toml", "gpu/profile", "batch/profile"},
			},
		},
	},
	oddNames("team.prod", "7", "UPPER", "a-b_c.d", "._-"),
}

// oddNames returns static roles with the given profiles. Each profile is tested in its own file and in a file
// that joins all.
func oddNames(profiles ...string) family {
	f := family{name: "odd names"}
	var joined []string
	for i, profile := range profiles {
		role := fmt.Sprintf("odd-%d", i)
		f.roles = append(f.roles, clientRole{name: role, profile: profile})
		f.forms = append(f.forms,
			form{name: fmt.Sprintf("profile %q, active", profile), role: role, reads: []string{role + "/toml"}},
			form{name: fmt.Sprintf("profile %q, MODAL_PROFILE", profile), role: role, profile: profile})
		joined = append(joined, role+"/profile")
	}
	joined[0] = f.roles[0].name + "/toml"
	for i := range f.forms {
		if f.forms[i].profile != "" {
			f.forms[i].reads = joined
		}
	}
	return f
}

// taken is what a consumer of each form keeps, and the IDs of the tokens.
type taken struct {
	variables [][]string        // by form, NAME=value
	ids       map[string]string // by role
}

// take reads every form and keeps the answers, as a consumer does.
func (m *matrix) take(t *testing.T, name string) taken {
	t.Helper()
	kept := taken{ids: map[string]string{}}
	for _, r := range m.roles {
		kept.ids[r.name] = fmt.Sprint(m.read(t, "modal/creds/"+r.name)["token_id"])
	}
	for i, f := range m.forms {
		if strings.HasSuffix(f.reads[0], "/env") {
			kept.variables = append(kept.variables, m.environment(t, f.reads[0]))
			continue
		}
		if strings.HasSuffix(f.reads[0], "/dotenv") {
			kept.variables = append(kept.variables, m.sourced(t, f.reads[0]))
			continue
		}
		file := filepath.Join(m.lab.Dir, fmt.Sprintf("%s-%d-%s.modal.toml", strings.ReplaceAll(m.name, " ", "-"), i, name))
		var text strings.Builder
		for _, path := range f.reads {
			text.WriteString(m.vault(t, "read", "-field=toml", "modal/creds/"+path))
		}
		require.NoError(t, os.WriteFile(file, []byte(text.String()), 0o600))
		variables := []string{"MODAL_CONFIG_PATH=" + file}
		if f.profile != "" {
			variables = append(variables, "MODAL_PROFILE="+f.profile)
		}
		kept.variables = append(kept.variables, variables)
	}
	return kept
}

func (m *matrix) environment(t *testing.T, path string) []string {
	t.Helper()
	var variables []string
	for name, value := range m.read(t, "modal/creds/"+path) {
		variables = append(variables, fmt.Sprintf("%s=%s", name, value))
	}
	return variables
}

// sourced returns Modal's variables of a shell that has evaluated the text of a dotenv path.
func (m *matrix) sourced(t *testing.T, path string) []string {
	t.Helper()
	shell := m.program(t, m.Token, "sh", "-euc",
		`E=$("$0" read -field=dotenv "$1") && set -a && eval "$E" && set +a && env | grep ^MODAL_`, tools.Vault, "modal/creds/"+path)
	said, err := shell.Output()
	require.NoError(t, err)
	return strings.Fields(string(said))
}
