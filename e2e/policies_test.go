// SPDX-License-Identifier: MPL-2.0

//go:build e2e && unix

package e2e

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the table of docs/policies.md")

const policiesPage = "../docs/policies.md"

// policyTable matches the part of the page that the test writes.
var policyTable = regexp.MustCompile(`(?s)(<!-- make policies writes this table -->\n).*(<!-- until here -->\n)`)

// fieldwise lists the paths for which a policy may allow single fields of a write.
var fieldwise = []string{"rotate/{role}", "rotate/{role}/approval"}

// policyRoles are tried on each path of a role. No policy names the last role.
var policyRoles = []string{"ci", "gpu", "personal", "other"}

// policyRow is a row of the table: an operation on a path of the plugin, possibly with one field.
type policyRow struct {
	path, operation, field string
	value                  any
}

func TestPolicies_AllowExactlyWhatTheTableSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.createAllRoles(t)
	personas, tokens := w.personas(t)

	var table strings.Builder
	fmt.Fprintf(&table, "| | | %s |\n| --- | --- |%s\n", strings.Join(personas, " | "), strings.Repeat(" --- |", len(personas)))
	for _, d := range w.policyRows(t) {
		what := d.operation
		if d.field != "" {
			what += " with `" + d.field + "`"
		}
		fmt.Fprintf(&table, "| `%s` | %s |", strings.NewReplacer("{", "<", "}", ">").Replace(d.path), what)
		for _, persona := range personas {
			fmt.Fprintf(&table, " %s |", w.allowed(t, tokens[persona], d))
		}
		table.WriteByte('\n')
	}

	page, err := os.ReadFile(policiesPage)
	require.NoError(t, err)
	require.Regexp(t, policyTable, string(page))
	written := policyTable.ReplaceAllString(string(page), "${1}\n"+table.String()+"\n${2}")
	if *update {
		require.NoError(t, os.WriteFile(policiesPage, []byte(written), 0o644))
		return
	}
	require.Equal(t, string(page), written, "the policies do not match docs/policies.md. If the change is intended, run: make policies")
}

// createAllRoles makes an admin token and all roles.
func (w *world) createAllRoles(t *testing.T) {
	t.Helper()
	w.haveConfig(t, true)
	for _, role := range policyRoles {
		w.haveRole(t, role, true)
	}
}

// personas returns the names of the example policies and a Vault token for each.
func (w *world) personas(t *testing.T) (names []string, tokens map[string]string) {
	t.Helper()
	files, err := filepath.Glob("../examples/policies/*.hcl")
	require.NoError(t, err)
	tokens = map[string]string{}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".hcl")
		tokens[name] = w.tokenOf(t, filepath.Base(file))
	}
	return slices.Sorted(maps.Keys(tokens)), tokens
}

// openapiPath holds the operations of one path in the plugin's OpenAPI document.
type openapiPath struct {
	Creates bool `json:"x-vault-createSupported"`
	Get     *struct {
		Parameters []struct {
			Name     string
			Required bool
		}
	}
	Post   *struct{ OperationID string }
	Delete *struct{}
}

// policyRows returns all operations of the plugin's OpenAPI document, so a new operation makes the table
// outdated.
func (w *world) policyRows(t *testing.T) (all []policyRow) {
	t.Helper()
	status, body := w.ask(t, w.Token, http.MethodGet, "sys/internal/specs/openapi", nil)
	require.Equal(t, http.StatusOK, status)
	var document struct {
		Paths      map[string]openapiPath
		Components struct {
			Schemas map[string]struct {
				Properties map[string]struct{ Type string }
			}
		}
	}
	require.NoError(t, json.Unmarshal([]byte(body), &document))
	for _, name := range slices.Sorted(maps.Keys(document.Paths)) {
		path, found := strings.CutPrefix(name, "/modal/")
		if !found {
			continue
		}
		operations := document.Paths[name]
		path = strings.TrimSuffix(path, "/")
		all = append(all, operations.policyRows(path)...)
		if slices.Contains(fieldwise, path) {
			properties := document.Components.Schemas[schema(operations.Post.OperationID)].Properties
			require.NotEmpty(t, properties)
			for _, field := range slices.Sorted(maps.Keys(properties)) {
				value := map[string]any{"boolean": true, "integer": 0}[properties[field].Type]
				all = append(all, policyRow{path, "update", field, value})
			}
		}
	}
	require.NotEmpty(t, all)
	return all
}

// schema returns the name of the schema of an operation's request. Vault drops the reference in a plugin's
// document.
func schema(operation string) string {
	words := strings.Split(operation, "-")
	for i, word := range words {
		words[i] = strings.ToUpper(word[:1]) + word[1:]
	}
	return strings.Join(words, "") + "Request"
}

// policyRows returns the operations of one path.
func (p openapiPath) policyRows(path string) (all []policyRow) {
	if p.Get != nil {
		lists, reads := false, true
		for _, parameter := range p.Get.Parameters {
			if parameter.Name == "list" {
				lists, reads = true, !parameter.Required
			}
		}
		if lists {
			all = append(all, policyRow{path: path, operation: "list"})
		}
		if reads {
			all = append(all, policyRow{path: path, operation: "read"})
		}
	}
	if p.Creates {
		all = append(all, policyRow{path: path, operation: "create"})
	}
	if p.Post != nil {
		all = append(all, policyRow{path: path, operation: "update"})
	}
	if p.Delete != nil {
		all = append(all, policyRow{path: path, operation: "delete"})
	}
	return all
}

// allowed tries the operation, on each role if the path names a role, and returns the roles for which Vault
// allowed it.
func (w *world) allowed(t *testing.T, token string, d policyRow) string {
	t.Helper()
	if !strings.Contains(d.path, "{role}") {
		if w.try(t, token, d, "") {
			return "yes"
		}
		return ""
	}
	var roles []string
	for _, role := range policyRoles {
		if w.try(t, token, d, role) {
			roles = append(roles, "`"+role+"`")
		}
	}
	if len(roles) == len(policyRoles) {
		return "all"
	}
	return strings.Join(roles, ", ")
}

// try tries the operation and reports whether Vault allowed it. For a create the object is missing, otherwise
// it exists. The engine's answer to an empty write does not matter here.
func (w *world) try(t *testing.T, token string, d policyRow, role string) bool {
	t.Helper()
	w.haveConfig(t, d.path != "config" || d.operation != "create")
	if role != "" {
		w.haveRole(t, role, d.operation != "create")
	}
	path := strings.ReplaceAll(d.path, "{role}", role)
	if strings.HasPrefix(path, "revocations") {
		path = strings.ReplaceAll(path, "{id}", w.haveRevocation(t))
	}
	method := map[string]string{"list": "LIST", "read": http.MethodGet, "delete": http.MethodDelete}[d.operation]
	var body any
	if method == "" {
		fields := map[string]any{}
		if d.field != "" {
			fields[d.field] = d.value
		}
		method, body = http.MethodPost, fields
	}
	status, said := w.ask(t, token, method, "modal/"+path, body)
	denied := status == http.StatusForbidden && strings.Contains(said, "permission denied")
	require.Less(t, status, http.StatusInternalServerError, "%s %s: %s", method, path, said)
	return !denied
}

// haveConfig makes sure that a config with an admin token exists, or none.
func (w *world) haveConfig(t *testing.T, wanted bool) {
	t.Helper()
	status, said := w.ask(t, w.Token, http.MethodGet, "modal/config", nil)
	switch there := status == http.StatusOK && strings.Contains(said, `"token_id"`); {
	case wanted && !there:
		admin := w.newToken(t)
		w.must(t, http.MethodPost, "modal/config", data{"server_url": w.emulator.URL, "token_id": admin.ID, "token_secret": admin.Secret})
	case !wanted && there:
		w.must(t, http.MethodDelete, "modal/config", nil)
	}
}

// haveRole makes sure that a role exists, or that it does not.
func (w *world) haveRole(t *testing.T, role string, wanted bool) {
	t.Helper()
	status, _ := w.ask(t, w.Token, http.MethodGet, "modal/roles/"+role, nil)
	switch there := status == http.StatusOK; {
	case wanted && !there && role == "personal":
		token := w.newToken(t)
		w.must(t, http.MethodPost, "modal/roles/personal", data{"type": "static", "token_id": token.ID, "token_secret": token.Secret})
	case wanted && !there:
		w.must(t, http.MethodPost, "modal/roles/"+role, data{"type": "managed", "environment_roles": "main=viewer"})
	case !wanted && there:
		w.must(t, http.MethodDelete, "modal/roles/"+role+"?force=true", nil)
	}
}

// haveRevocation returns the ID of a revocation that can be forgotten, because Modal rejects its token.
func (w *world) haveRevocation(t *testing.T) string {
	t.Helper()
	id := w.read(t, "modal/creds/personal")["token_id"].(string)
	next := w.newToken(t)
	w.must(t, http.MethodPost, "modal/rotate/personal", data{"token_id": next.ID, "token_secret": next.Secret, "grace_period": 0})
	require.NoError(t, w.emulator.DeleteToken(w.ctx, id))
	return id
}

// must sends a request as root. The request must succeed.
func (w *world) must(t *testing.T, method, path string, body any) {
	t.Helper()
	status, said := w.ask(t, w.Token, method, path, body)
	require.Less(t, status, http.StatusBadRequest, "%s %s: %s", method, path, said)
}

// ask sends a request to Vault.
func (w *world) ask(t *testing.T, token, method, path string, body any) (status int, said string) {
	t.Helper()
	var reader io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		require.NoError(t, err)
		reader = strings.NewReader(string(text))
	}
	request, err := http.NewRequestWithContext(w.ctx, method, w.Addr+"/v1/"+path, reader)
	require.NoError(t, err)
	request.Header.Set("X-Vault-Token", token)
	answer, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return answer.StatusCode, string(text)
}
